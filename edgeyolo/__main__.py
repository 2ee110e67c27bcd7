"""`python -m edgeyolo`: the command line, where the script `edgeyolo` is not on the path."""

from edgeyolo.cli import main

if __name__ == "__main__":
    main()
