//! The kubeconfig that `up` writes and takes back.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Begin of every file we write: only such a file is ever overwritten or removed.
const MARKER: &str = "# Written by `ordinal up`; ";

/// Whether the file goes with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The server it names is gone then.
    Goes,
    /// The next process with the same data directory serves the same path.
    Stays,
}

/// A kubeconfig on disk; one that goes is removed when dropped, unless somebody changed it meanwhile.
#[derive(Debug)]
pub struct Kubeconfig {
    path: PathBuf,
    text: String,
    lifetime: Lifetime,
}

/// Refuses a path that holds somebody else's file or that cannot be written, before anything starts.
///
/// # Errors
/// The path and what to do.
pub fn check(path: &Path) -> anyhow::Result<()> {
    match fs::read_to_string(path) {
        Ok(text) if text.starts_with(MARKER) => Ok(()),
        Ok(_) => bail!(
            "{} exists and was not written by `ordinal up`; name another file with --kubeconfig-out",
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            // A probe beside the file: permissions and read-only mounts show only when one tries.
            let probe = directory.join(format!(".ordinal-{}.tmp", std::process::id()));
            open_private(&probe).and_then(|_| fs::remove_file(&probe)).with_context(|| cannot_write(path))
        }
        Err(error) => Err(error).with_context(|| cannot_write(path)),
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the kubeconfig {}; name another file with --kubeconfig-out", path.display())
}

fn open_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes the kubeconfig for `server`, an URL with the secret base path, with mode 0600.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, server: &str, lifetime: Lifetime) -> anyhow::Result<Kubeconfig> {
    check(path)?;
    let fate = match lifetime {
        Lifetime::Goes => "removed when it ends",
        Lifetime::Stays => "kept for its data directory",
    };
    let text = format!(
        "{MARKER}{fate}.\napiVersion: v1\nkind: Config\ncurrent-context: ordinal\nclusters:\n- name: ordinal\n  cluster:\n    \
         server: {server}\ncontexts:\n- name: ordinal\n  context:\n    cluster: ordinal\n    user: ordinal\nusers:\n- \
         name: ordinal\n  user: {{}}\n"
    );
    // Written beside it and renamed, so that a reader never sees half a file.
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = open_private(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error).with_context(|| cannot_write(path));
    }
    Ok(Kubeconfig { path: path.to_owned(), text, lifetime })
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let ours = || fs::read_to_string(&self.path).is_ok_and(|text| text == self.text);
        if self.lifetime == Lifetime::Goes && ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_private_and_goes_away_but_never_takes_a_foreign_file_along() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("k");
        let kubeconfig = write(&path, "http://127.0.0.1:1/secret", Lifetime::Goes).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let second =
            write(&path, "http://127.0.0.1:2/other", Lifetime::Goes).expect("our own file is replaced");
        drop(kubeconfig);
        assert!(path.exists(), "the second process's file stays");
        drop(second);
        assert!(!path.exists());
        drop(write(&path, "http://127.0.0.1:1/secret", Lifetime::Stays).expect("written"));
        assert!(path.exists(), "that of a data directory stays");
        check(&path).expect("and is ours");

        fs::write(&path, "apiVersion: v1\n").expect("written");
        assert!(check(&path).expect_err("foreign").to_string().contains("was not written by"));
        let missing = directory.path().join("no/such/k");
        assert!(
            check(&missing).expect_err("no directory").to_string().starts_with("cannot write the kubeconfig")
        );
    }
}
