"""Other programs' errors in the words of this one."""


def first_line(error: Exception) -> str:
    """What kind of error it is and how its message begins: enough of another program's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'it says no more'}"
