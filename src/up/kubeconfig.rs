//! The kubeconfig that `up` writes and takes back.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

/// How clients reach the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Its URL, with the secret base path if there is one.
    pub server: String,
    /// With TLS: the certificate of its authority, PEM, and the bearer token.
    pub tls: Option<(String, String)>,
}

impl Access {
    /// The text of a kubeconfig.
    fn kubeconfig(&self) -> String {
        let (trust, user) = match &self.tls {
            None => (String::new(), " {}".to_owned()),
            Some((authority, token)) => (
                format!("\n    certificate-authority-data: {}", STANDARD.encode(authority)),
                // Quoted: digits with one `e` would be a number.
                format!("\n    token: \"{token}\""),
            ),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: ordinal\nclusters:\n- name: ordinal\n  cluster:\n    \
             server: {}{trust}\ncontexts:\n- name: ordinal\n  context:\n    cluster: ordinal\n    user: ordinal\nusers:\n\
             - name: ordinal\n  user:{user}\n",
            self.server
        )
    }
}

/// Writes the kubeconfig for `access` with mode 0600.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, access: &Access, lifetime: Lifetime) -> anyhow::Result<Kubeconfig> {
    check(path)?;
    let fate = match lifetime {
        Lifetime::Goes => "removed when it ends",
        Lifetime::Stays => "kept for its data directory",
    };
    let text = format!("{MARKER}{fate}.\n{}", access.kubeconfig());
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
        let access = |server: &str| Access { server: server.to_owned(), tls: None };
        let one = access("http://127.0.0.1:1/secret");
        let kubeconfig = write(&path, &one, Lifetime::Goes).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let second = write(&path, &access("http://127.0.0.1:2/other"), Lifetime::Goes)
            .expect("our own file is replaced");
        drop(kubeconfig);
        assert!(path.exists(), "the second process's file stays");
        drop(second);
        assert!(!path.exists());
        drop(write(&path, &one, Lifetime::Stays).expect("written"));
        assert!(path.exists(), "that of a data directory stays");
        check(&path).expect("and is ours");

        fs::write(&path, "apiVersion: v1\n").expect("written");
        assert!(check(&path).expect_err("foreign").to_string().contains("was not written by"));
        let missing = directory.path().join("no/such/k");
        assert!(
            check(&missing).expect_err("no directory").to_string().starts_with("cannot write the kubeconfig")
        );
    }

    #[test]
    fn what_it_says() {
        let text = |tls| {
            let access = Access { server: "https://[::1]:7443".to_owned(), tls };
            serde_saphyr::from_str::<serde_json::Value>(&access.kubeconfig()).expect("YAML")
        };
        let plain = text(None);
        assert_eq!(plain["clusters"][0]["cluster"], serde_json::json!({"server": "https://[::1]:7443"}));
        assert_eq!(plain["users"][0]["user"], serde_json::json!({}));
        let tls = text(Some(("PEM".to_owned(), "12e3".to_owned())));
        assert_eq!(
            tls["clusters"][0]["cluster"],
            serde_json::json!({"server": "https://[::1]:7443", "certificate-authority-data": "UEVN"})
        );
        assert_eq!(tls["users"][0]["user"], serde_json::json!({"token": "12e3"}));
    }
}
