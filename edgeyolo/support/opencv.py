"""Packages of OpenCV: four of them install the same module `cv2`.

The one that was installed last is the one that runs.

pip does not know that they exclude each other. What happens was tried with each order and is written down in README.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from edgeyolo.errors import RuntimeMissingError

PACKAGES = (
    "opencv-python-headless",
    "opencv-contrib-python-headless",
    "opencv-python",
    "opencv-contrib-python",
)
OURS = PACKAGES[0]


def installed() -> dict[str, str]:
    """The packages of OpenCV that are installed, and their versions."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def reinstall(package: str) -> str:
    """The line that makes `cv2` that of a package again."""
    return f"pip install --force-reinstall --no-deps {package}"


def describe() -> tuple[str, str]:
    """The OpenCV that runs here, and what to type to put it right.

    The second where it is not what its packages promise, else "".

    The second is "" where there is nothing to do.
    """
    packages = installed()
    try:
        import cv2

        build, release = cv2.getBuildInformation(), cv2.__version__
    except (ImportError, AttributeError) as error:
        broken = explain_opencv(error)
        return "not usable", broken.hint if broken else reinstall(OURS)
    interface = next((line.split(":", 1)[1].strip() for line in build.splitlines() if "GUI:" in line), "NONE")
    windows = interface != "NONE"
    text = (
        f"{release}, {f'with windows ({interface})' if windows else 'without windows'}; {', '.join(packages)}"
    )
    wanted = [name for name in packages if not name.endswith("-headless")]
    if wanted and not windows:
        return (
            text,
            f"cv2.imshow is that of {OURS}, which came last. To have it back: {reinstall(wanted[-1])}",
        )
    return text, ""


def explain_opencv(error: BaseException) -> RuntimeMissingError | None:
    """The error for a `cv2` that cannot be used; None for any other error."""
    if isinstance(error, AttributeError) and getattr(error.obj, "__name__", "") == "cv2":
        return RuntimeMissingError(
            "OpenCV is not whole: of two packages that install cv2, one was removed", hint=reinstall(OURS)
        )
    if isinstance(error, ImportError) and ("libGL" in str(error) or (error.name or "") == "cv2"):
        return RuntimeMissingError(f"OpenCV cannot be loaded ({error})", hint=reinstall(OURS))
    return None
