"""The writer of events.jsonl: whole lines on a full disk, after a crash, from several threads."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backprop_tui.core.events import Event, Preparing, Saved, Warned, from_line, to_line
from backprop_tui.runs.event_file import EventFile


def said(number: int) -> Event:
    return Preparing(t=float(number), stage=f"stage {number}")


def lines_of(path: Path) -> list[Event | None]:
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [from_line(line) for line in text.splitlines()]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Real writes fail beyond that size of a file, the last one half done."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_each_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    for number in range(3):
        file.append(said(number))
        assert lines_of(path) == [said(n) for n in range(number + 1)]
        assert file.waiting == 0
    assert path.stat().st_mode & 0o777 == 0o600
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.append(said(9))


@pytest.mark.parametrize("cut", range(1, len(to_line(said(2)))))
def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(to_line(said(1)) + "\n" + to_line(said(2))[:cut])
    file = EventFile(path)
    file.append(said(3))
    file.close()
    assert lines_of(path) == [said(1), said(3)]


def test_a_whole_last_line_without_its_end_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(to_line(said(1)) + "\n" + to_line(said(2)))
    file = EventFile(path)
    file.append(said(3))
    file.close()
    assert lines_of(path) == [said(1), said(2), said(3)]


@pytest.mark.parametrize("torn", [b"\0" * 200_000, b'{"event": "Step", ' + b"9" * 200_000])
def test_a_long_torn_end_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(to_line(said(1)).encode() + b"\n" + torn)
    EventFile(path).close()
    assert lines_of(path) == [said(1)]
    path.write_bytes(torn)  # without a single line end
    EventFile(path).close()
    assert path.read_bytes() == b""


def test_on_a_full_disk_events_wait_and_are_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    room = 2 * len(to_line(said(1))) + 10  # two lines and less than half of a third
    with disk_of(room):
        for number in range(1, 6):
            file.append(said(number))
            assert lines_of(path) == [said(n) for n in range(1, min(number, 2) + 1)]
        assert file.waiting == 3
    file.append(said(6))
    assert file.waiting == 0
    assert lines_of(path) == [said(n) for n in range(1, 7)]
    file.close()


def test_what_waited_is_written_when_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    with disk_of(5):
        file.append(Saved(t=1.0, step=1, path="a", kind="adapter"))
        assert path.read_bytes() == b""
    file.close()
    assert lines_of(path) == [Saved(t=1.0, step=1, path="a", kind="adapter")]


def test_a_half_line_that_could_not_be_cut_off_is_cut_off_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)

    def refuse(_file: int, _size: int) -> None:
        raise OSError(5, "Input/output error")

    with disk_of(10), monkeypatch.context() as patch:
        patch.setattr("os.ftruncate", refuse)
        file.append(said(1))
        assert path.stat().st_size == 10
    file.append(said(2))
    file.close()
    assert lines_of(path) == [said(1), said(2)]


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)

    def write(start: int) -> None:
        for number in range(start, start + 100):
            file.append(said(number))

    writers = [threading.Thread(target=write, args=(start,)) for start in range(0, 400, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    file.close()
    found = [event.t for event in lines_of(path) if event is not None]
    assert sorted(found) == [float(n) for n in range(400)]


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    secret = "hf_" + "a1B2" * 8
    file.append(Warned(t=0.0, code="a", message=f"{secret} and correct-horse-battery"))
    file.close()
    assert lines_of(path) == [Warned(t=0.0, code="a", message="*** and ***")]


def test_half_a_surrogate_pair_does_not_lose_the_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    file.append(Preparing(t=0.0, stage="a\udc80b"))
    file.close()
    assert lines_of(path) == [Preparing(t=0.0, stage="a?b")]


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / "events.jsonl").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"):
        EventFile(tmp_path / "events.jsonl")
    assert outside.read_text() == "precious"
