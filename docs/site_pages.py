"""Pages of the site that live elsewhere: the README, which is its start, and the notebooks."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


@event_priority(100)  # before the plugin that makes pages of notebooks looks for them
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds them, under the names that links within `docs` have."""
    start = (ROOT / "README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=start))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        places = (str(ROOT), config.site_dir, config.use_directory_urls)
        files.append(File(f"notebooks/{notebook.name}", *places))
    return files
