"""Memory in which a child records its progress."""

import mmap

from stepcoder_trl.executor.wire.progress import Progress


def test_whole_page_is_cleared_before_the_next_child():
    progress = Progress()
    progress.note("ready")
    page = progress._memory
    page[len(page) - 4 :] = b"note"

    progress.clear()

    assert len(page) % mmap.PAGESIZE == 0  # a program reaches all of a page
    assert bytes(page) == bytes(len(page))
    assert progress.moment("ready") is None
