"""Command line as `python -m edgeyolo`, for when the script is not on the path."""

from edgeyolo.cli import main

if __name__ == "__main__":
    main()
