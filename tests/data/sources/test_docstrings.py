"""The docstring cleaner: each style, with the exact prose that must remain."""

import pytest

from bert_jax.data.sources.docstrings import prose

NUMPY = """
    fit(x, y, *, order=3) -> Curve

    Fit a smooth curve to the
    given points of the plane.

    Parameters
    ----------
    x, y : array_like
        The coordinates of the points that are fitted.

    Returns
    -------
    curve : Curve
        The curve that is closest to the points.

    See Also
    --------
    splines : the same for curves with corners.

    Notes
    -----
    The fit follows the method of
    least squares [1]_, and is exact for three points.

    .. math:: y = a x + b

    References
    ----------
    .. [1] A. Author, "A book about the fitting of curves", 1999.

    Examples
    --------
    A line through two of the points:

    >>> fit([0, 1], [2, 3])
    The curve is a line.

    The result may then be drawn on the screen.
    """

GOOGLE = """Reads a table from the disk.

    The table is held in memory until it is closed.

    Args:
      path: where the table is, which may be a folder.
        This line belongs to the path as well.

      mode: how it is opened, and by whom.

    Returns:
      A table that is ready to be read.

    Raises:
      OSError: if the table is not there.

    Example:

    ```python
    table = read("a.csv")  # this is the table that we read
    ```

    Note:
      A table that is open cannot be read by others.

    Usage: call it once for each of the tables.
    """

SPHINX = """Send a message to the other side.

    :param text: what is sent to the other side,
        which may be empty.
    :type text: str
    :returns: the answer of the other side
    @return: what the other side has said

    .. versionadded:: 2.0
       The text may now be empty as well.

    .. note:: The message is sent only once.
       It may be lost on the way.

    .. warning::

       The other side can read every message.

    It can be used like this::

        send("hello")  # and this is the answer to it

    Afterwards the line is closed.
    """

MARKUP = """Use ``open`` or :func:`~files.io.read` with :class:`the class <files.File>` of the module.

    See `the manual <https://example.org/a_b>`_ or the [guide](https://example.org/g) for more of **this** and *that*.

    The `path` is given as is, so \\*args and **kwargs are passed [12]_ on to `~files.File.open`.

    <p>This is a <b>bold</b> paragraph in the manual.</p>
    """

LISTS = """The module has these parts:

    - the first one, which is
      longer than a line
    - x
    * The second one is short.

    1. First the file is opened.
    2. Then it is read.

    term
        The definition of the term is here.

    Title of a section
    ==================

    Text that follows the title of the section.
    """

NOISE = """
    ====== =====================
    name   what it is used for
    ====== =====================
    a      the first of the letters
    ====== =====================

    | of | the | table |
    +----+-----+-------+

    https://example.org/a/page/of/the/manual

    Copyright 2020 by the authors of the module.

    from the_module import the_function

    for item in the_list: print(item)

    x, y, z, foo_bar, baz_qux, the_end, of_it

    Это описание функции, it is not in the English language.

    Too short here.

    $ run the program with the file

    This paragraph is what is left of it all.
    """


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (
            NUMPY,
            [
                "Fit a smooth curve to the given points of the plane.",
                "The fit follows the method of least squares, and is exact for three points.",
                "The result may then be drawn on the screen.",
            ],
        ),
        (
            GOOGLE,
            [
                "Reads a table from the disk.",
                "The table is held in memory until it is closed.",
                "A table that is open cannot be read by others.",
                "Usage: call it once for each of the tables.",
            ],
        ),
        (
            SPHINX,
            [
                "Send a message to the other side.",
                "The message is sent only once. It may be lost on the way.",
                "The other side can read every message.",
                "Afterwards the line is closed.",
            ],
        ),
        (
            MARKUP,
            [
                "Use open or read with the class of the module.",
                "See the manual or the guide for more of this and that.",
                "The path is given as is, so *args and **kwargs are passed on to open.",
                "This is a bold paragraph in the manual.",
            ],
        ),
        (
            LISTS,
            [
                "the first one, which is longer than a line",
                "The second one is short.",
                "First the file is opened.",
                "Then it is read.",
                "The definition of the term is here.",
                "Text that follows the title of the section.",
            ],
        ),
        (NOISE, ["This paragraph is what is left of it all."]),
        ("One line says what it does.", ["One line says what it does."]),
        ("", []),
    ],
    ids=["numpy", "google", "sphinx", "markup", "lists", "noise", "one line", "empty"],
)
def test_prose_of_each_style(docstring, expected):
    assert prose(docstring) == expected
