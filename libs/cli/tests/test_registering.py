"""Which paths are accepted as a model file; all others are refused without being read."""

import os
from pathlib import Path

import pytest

from headrace.errors import Misconfigured
from headrace_cli.models.registration import Registration, read_file, register_file

ABOUT = Registration("flight-delay", "to see")


def test_a_folder_a_device_and_a_pipe_are_no_model_files(tmp_path: Path) -> None:
    folder, pipe, device = tmp_path / "dir.skops", tmp_path / "fifo.skops", tmp_path / "zero.skops"
    folder.mkdir()
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for place, what in ((folder, "a folder"), (pipe, "a device, a pipe or a socket"), (device, "a device, a pipe")):
        with pytest.raises(
            Misconfigured, match=f"{place.name} is {what}.*, not a file: give the path of a regular file"
        ):
            register_file(place, ABOUT)


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.onnx"
    with file.open("wb") as sparse:
        sparse.truncate(600 * 1024**2)
    with pytest.raises(Misconfigured, match=r"large.onnx has 629,145,600 bytes, the limit is 536,870,912"):
        register_file(file, ABOUT)
    assert read_file(file, 600 * 1024**2)[:1] == b"\0"


def test_categories_that_are_no_file_are_one_sentence_too(tmp_path: Path) -> None:
    (tmp_path / "words.json").mkdir()
    with pytest.raises(Misconfigured, match=r"words.json is a folder, not a file"):
        register_file(tmp_path / "model.skops", Registration("d", "r", tmp_path / "words.json"))
