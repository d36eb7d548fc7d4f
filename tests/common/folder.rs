//! A directory of a test's own. Knows nothing of what is put into it.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory with `root` in it, which is to be served. It is removed with its test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// `name` tells it from others of the same file of tests.
    pub(crate) fn new(name: &str) -> Folder {
        let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
        let folder = Folder(tests.join(name));
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir_all(folder.root()).unwrap();
        folder
    }

    /// What is served.
    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// Where a file is that is served.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
