"""Files count by what they are, not by how many ways lead to them."""

import os

from common.data.folder_files import files_in, files_of


def folder_of(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


def test_each_file_once(tmp_path):
    root = folder_of(tmp_path / "photos", "a.png", "x/b.png", "x/.hidden", ".trash/c.png")
    elsewhere = folder_of(tmp_path / "elsewhere", "1.png", "deep/2.png")
    (root / "0_link.png").symlink_to(root / "a.png")  # sorted before what it leads to
    (root / "far").symlink_to(elsewhere)
    (root / "far_again").symlink_to(elsewhere)
    (root / "up").symlink_to(tmp_path)
    (root / "x" / "loop").symlink_to(root)
    (root / "lost.png").symlink_to(tmp_path / "nowhere")
    (root / "a one").symlink_to(elsewhere / "1.png")
    os.mkfifo(root / "pipe.png")
    folder_of(root, "@eaDir/a.png")
    files, others = files_in(root)
    found = sorted(os.path.relpath(file, root) for file in files)
    assert found == ["a.png", "far/1.png", "far/deep/2.png", "x/b.png"]
    assert others == {
        "links to what is here already": 3,
        "links to a folder around them": 2,
        "links that lead nowhere": 1,
        "no regular files": 1,
        "folders @eaDir": 1,
    }


def test_a_folder_given_by_a_link(tmp_path):
    folder_of(tmp_path / "photos", "a.png")
    (tmp_path / "photos" / "self").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert files_in(tmp_path / "link").files == [str(tmp_path / "link" / "a.png")]


def test_several_folders_share_no_file(tmp_path):
    """Classes: the one that has a file itself keeps it, whatever the order."""
    folder_of(tmp_path, "dog/1.png")
    (tmp_path / "cat").symlink_to(tmp_path / "dog")
    cat, dog = files_of([tmp_path / "cat", tmp_path / "dog"])
    assert not cat.files and cat.others == {"links to what is here already": 1}
    assert dog.files == [str(tmp_path / "dog" / "1.png")]
