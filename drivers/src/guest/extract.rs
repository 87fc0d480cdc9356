//! The machine folder: configuration, logs and units read out of a guest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;

use super::root::{EntryKind, Root};
use super::secrets::{hide_passwords, is_closed, is_secret};

/// Bounds of an extraction.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest single configuration file.
    pub file: u64,
    /// All configuration together.
    pub configuration: u64,
    /// All journals together.
    pub journals: u64,
    /// All other logs together.
    pub logs: u64,
    /// Number of files.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file: 1 << 20,
            configuration: 64 << 20,
            journals: 512 << 20,
            logs: 64 << 20,
            files: 20_000,
        }
    }
}

/// Takes the files of a machine folder.
pub trait Sink {
    /// Receives one regular file of exactly `size` bytes.
    fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()>;
}

/// Writes the machine folder to a sink; the answer holds warnings.
pub fn extract(root: &Root, limits: Limits, sink: &mut dyn Sink) -> io::Result<Vec<String>> {
    let mut walk = Extraction::new(root, limits, sink);
    let mut left = limits.configuration;
    walk.tree("etc", &|_| true, &mut left, 0)?;
    walk.tree("usr/lib/systemd/system", &is_unit, &mut left, 0)?;
    walk.one("usr/lib/os-release", limits.file, &mut left)?;
    walk.journals()?;
    walk.logs()?;
    Ok(walk.warnings)
}

/// Emits files of a guest as long as they fit.
pub(crate) struct Extraction<'a> {
    root: &'a Root,
    sink: &'a mut dyn Sink,
    limits: Limits,
    files: usize,
    warnings: Vec<String>,
}

impl<'a> Extraction<'a> {
    pub(crate) fn new(root: &'a Root, limits: Limits, sink: &'a mut dyn Sink) -> Self {
        Self {
            root,
            sink,
            limits,
            files: 0,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    fn tree(
        &mut self,
        directory: &str,
        wanted: &dyn Fn(&str) -> bool,
        left: &mut u64,
        depth: usize,
    ) -> io::Result<()> {
        if depth > 16 {
            return Ok(());
        }
        for (name, kind) in self.root.list(directory) {
            let path = format!("{directory}/{name}");
            match kind {
                EntryKind::Directory if !is_secret(&path) => {
                    self.tree(&path, wanted, left, depth + 1)?;
                }
                EntryKind::File | EntryKind::Symlink if wanted(&name) => {
                    self.one(&path, self.limits.file, left)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Emits one file where it is wanted and fits.
    pub(crate) fn one(&mut self, path: &str, largest: u64, left: &mut u64) -> io::Result<()> {
        let Ok(Some(file)) = self.root.open_file(path) else {
            return Ok(());
        };
        // A link may lead to a secret under another name.
        let real = self.root.real_path(&file).unwrap_or_default();
        let data = file.metadata()?;
        let size = data.len();
        let is_configuration = path.starts_with("etc/");
        let closed = is_configuration && is_closed(path, data.mode());
        if is_secret(path) || is_secret(&real) || closed || size > largest {
            return Ok(());
        }
        if size > *left || self.files >= self.limits.files {
            let directory = path.split('/').next().unwrap_or_default();
            let warning = format!("not all of /{directory} was read out, it is too large");
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
            return Ok(());
        }
        if size <= self.limits.file && holds_private_key(&file)? {
            return Ok(());
        }
        *left -= size;
        self.files += 1;
        if is_configuration {
            return self.configuration(path, size);
        }
        let Some(file) = self.root.open_file(path)? else {
            return Ok(());
        };
        self.sink.file(
            path,
            size,
            &mut Exactly {
                inner: file,
                left: size,
            },
        )
    }

    fn configuration(&mut self, path: &str, size: u64) -> io::Result<()> {
        let Some(file) = self.root.open_file(path)? else {
            return Ok(());
        };
        let mut content = Vec::new();
        let mut exactly = Exactly {
            inner: file,
            left: size,
        };
        exactly.read_to_end(&mut content)?;
        hide_passwords(path, &mut content);
        self.sink.file(path, size, &mut content.as_slice())
    }

    /// Journals, newest first, as long as there is room.
    fn journals(&mut self) -> io::Result<()> {
        let mut journals = BTreeSet::new();
        for (machine, kind) in self.root.list("var/log/journal") {
            if kind != EntryKind::Directory {
                continue;
            }
            for (name, kind) in self.root.list(&format!("var/log/journal/{machine}")) {
                let path = format!("var/log/journal/{machine}/{name}");
                let journal = name.ends_with(".journal") || name.ends_with(".journal~");
                if kind == EntryKind::File && journal {
                    journals.insert((self.modified(&path), path));
                }
            }
        }
        let mut left = self.limits.journals;
        for (_, path) in journals.into_iter().rev() {
            self.one(&path, self.limits.journals, &mut left)?;
        }
        Ok(())
    }

    fn modified(&self, path: &str) -> Option<std::time::SystemTime> {
        self.root
            .open_file(path)
            .ok()??
            .metadata()
            .ok()?
            .modified()
            .ok()
    }

    fn logs(&mut self) -> io::Result<()> {
        let mut left = self.limits.logs;
        for (name, kind) in self.root.list("var/log") {
            let wanted = ["syslog", "messages", "daemon.log", "auth.log", "kern.log"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            if wanted && kind == EntryKind::File {
                self.one(&format!("var/log/{name}"), self.limits.logs, &mut left)?;
            }
        }
        Ok(())
    }
}

/// A file that is cut or grows while it is read still fills its announced size.
struct Exactly {
    inner: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = (buffer.len() as u64).min(self.left) as usize;
        let mut count = self.inner.read(&mut buffer[..want])?;
        if count == 0 && want > 0 {
            buffer[..want].fill(0);
            count = want;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn is_unit(name: &str) -> bool {
    [
        ".service", ".target", ".socket", ".mount", ".timer", ".path",
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

fn holds_private_key(file: &File) -> io::Result<bool> {
    let mut content = Vec::new();
    file.take(1 << 20).read_to_end(&mut content)?;
    Ok(contains(&content, b"PRIVATE KEY-----"))
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Files(BTreeMap<String, Vec<u8>>);

    impl Sink for Files {
        fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            assert_eq!(bytes.len() as u64, size);
            self.0.insert(path.to_owned(), bytes);
            Ok(())
        }
    }

    #[test]
    fn configuration_and_logs_without_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let files = [
            ("etc/hostname", "web1"),
            ("etc/shadow", "root:x"),
            ("etc/ssh/ssh_host_rsa_key", "k"),
            ("etc/ssl/private/a.pem", "k"),
            ("etc/app/server.pem", "-----BEGIN RSA PRIVATE KEY-----"),
            ("usr/lib/systemd/system/a.service", "[Unit]"),
            ("usr/lib/systemd/system/a.txt", "x"),
            ("var/log/journal/0123/system.journal", "J"),
            ("var/log/syslog.1", "S"),
            ("var/log/dpkg.log", "D"),
            (
                "etc/fstab",
                "//nas/a /a cifs username=u,password=abc,uid=1 0 0\n",
            ),
            ("etc/netplan/a.yaml", "password: abc\n"),
            ("etc/app/mine.conf", "x"),
            ("etc/app/ours.conf", "host=db1\n"),
        ];
        for (path, content) in files {
            root.write(path, content.as_bytes()).unwrap();
        }
        for path in ["etc/netplan/a.yaml", "etc/app/mine.conf"] {
            root.set_mode(path, 0o600).unwrap();
        }
        root.set_mode("etc/app/ours.conf", 0o640).unwrap();
        root.symlink("shadow", "etc/harmless").unwrap();
        root.symlink(
            "/usr/lib/systemd/system/a.service",
            "etc/systemd/system/x.wants/a.service",
        )
        .unwrap();
        root.symlink("/../../../../etc/passwd", "etc/passwd")
            .unwrap();
        let mut sink = Files::default();
        extract(&root, Limits::default(), &mut sink).unwrap();
        let found: Vec<&str> = sink.0.keys().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "etc/app/ours.conf",
                "etc/fstab",
                "etc/hostname",
                "etc/netplan/a.yaml",
                "etc/systemd/system/x.wants/a.service",
                "usr/lib/systemd/system/a.service",
                "var/log/journal/0123/system.journal",
                "var/log/syslog.1",
            ]
        );
        assert_eq!(
            sink.0["etc/fstab"],
            b"//nas/a /a cifs username=u,password=***,uid=1 0 0\n"
        );
        assert_eq!(sink.0["etc/netplan/a.yaml"], b"password: ***\n");
        assert_eq!(sink.0["etc/app/ours.conf"], b"host=db1\n");
    }

    #[test]
    fn the_limits_hold() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for number in 0..10 {
            root.write(&format!("etc/f{number}"), &[b'x'; 100]).unwrap();
        }
        let limits = Limits {
            configuration: 450,
            ..Limits::default()
        };
        let mut sink = Files::default();
        let warnings = extract(&root, limits, &mut sink).unwrap();
        assert_eq!(sink.0.len(), 4);
        assert_eq!(warnings.len(), 1);
    }
}
