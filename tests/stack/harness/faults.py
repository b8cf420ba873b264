"""The one way in which the harness fails: a line that says what is missing and how to mend it."""


class StackError(Exception):
    """A server could not be obtained or started; the text is for the person at the terminal."""
