//! A mounted volume, whose files change as the kubelet changes them: all at once, by one symbolic link.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

/// What stands in the place of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Put<'t> {
    /// A file with this text.
    Text(&'t str),
    /// A file with this text that its owner may not read.
    Unreadable(&'t str),
    /// A directory.
    Directory,
    /// Nothing.
    Nothing,
}

/// A directory that holds a link to the version in force, and a link to each of its files.
#[derive(Debug)]
pub(crate) struct Volume {
    path: PathBuf,
    version: usize,
}

impl Volume {
    /// Mounts the first version.
    pub(crate) fn mount(path: impl Into<PathBuf>, files: &[(&str, &str)]) -> Self {
        let mut volume = Self { path: path.into(), version: 0 };
        volume.swap(files);
        for (file, _) in files {
            symlink(Path::new("..data").join(file), volume.path.join(file)).unwrap();
        }
        volume
    }

    /// Replaces all files at once.
    pub(crate) fn swap(&mut self, files: &[(&str, &str)]) {
        let files: Vec<(&str, Put<'_>)> = files.iter().map(|(file, text)| (*file, Put::Text(text))).collect();
        self.swap_with(&files);
    }

    /// The kubelet's sequence (its `AtomicWriter`): a new directory with all files, a link to it, renamed onto the old one,
    /// whose directory then goes.
    pub(crate) fn swap_with(&mut self, files: &[(&str, Put<'_>)]) {
        self.version += 1;
        let name = format!("..2026_01_01_00_00_{:02}.{}", self.version % 60, 1_000_000 + self.version);
        let directory = self.path.join(&name);
        fs::create_dir_all(&directory).unwrap();
        for (file, put) in files {
            let path = directory.join(file);
            match put {
                Put::Text(text) => fs::write(path, text).unwrap(),
                Put::Unreadable(text) => {
                    fs::write(&path, text).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
                }
                Put::Directory => fs::create_dir(path).unwrap(),
                Put::Nothing => {}
            }
        }
        let before = fs::read_link(self.path.join("..data")).ok();
        symlink(&name, self.path.join("..data_tmp")).unwrap();
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(self.path.join(before)).unwrap();
        }
    }
}
