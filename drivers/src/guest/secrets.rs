//! What is not read out of a guest: files that hold secrets and nothing that a
//! boot order is made from, and the values of passwords in all others.

use std::ops::Range;

/// Names of files, in lower case, that hold nothing but secrets.
const NAMES: [&str; 18] = [
    "opasswd",
    "sudo_as_admin",
    "chap-secrets",
    "pap-secrets",
    "passwd.client",
    "debian.cnf",
    "sasl_passwd",
    "sasl_passwd.db",
    "smbpasswd",
    "passdb.tdb",
    "secrets.tdb",
    "htpasswd",
    ".htpasswd",
    ".pgpass",
    ".my.cnf",
    ".netrc",
    "credentials",
    ".smbcredentials",
];
const ENDINGS: [&str; 12] = [
    ".keytab",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".secret",
    ".secrets",
    ".keyfile",
    ".cred",
    ".credentials",
];
const DIRECTORIES: [&str; 8] = [
    "etc/ssl/private",
    "etc/pki/tls/private",
    "etc/letsencrypt/archive",
    "etc/letsencrypt/accounts",
    "etc/wireguard",
    "etc/wpa_supplicant",
    "etc/swanctl/private",
    "etc/credstore",
];

/// Files for nobody but their owner that name other machines or cards all the
/// same: they are read out, without the passwords in them.
const READ_THOUGH_CLOSED: [&str; 14] = [
    "etc/fstab",
    "etc/auto.",
    "etc/netplan/",
    "etc/NetworkManager/system-connections/",
    "etc/network/",
    "etc/sysconfig/network",
    "etc/systemd/",
    "etc/sssd/",
    "etc/nslcd.conf",
    "etc/pam_ldap.conf",
    "etc/iscsi/",
    "etc/dovecot/",
    "etc/postfix/",
    "etc/default/",
];

/// Parts of keys whose values are secrets, in lower case.
const SECRET_KEYS: [&str; 13] = [
    "passw",
    "passphrase",
    "secret",
    "psk",
    "bindpw",
    "pwd",
    "token",
    "authtok",
    "apikey",
    "api_key",
    "api-key",
    "private-key",
    "wep-key",
];

/// Whether a file is not read out by its path.
pub(super) fn is_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str())
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        || DIRECTORIES.iter().any(|place| path.starts_with(place))
        // With their copies: shadow-, shadow.bak.
        || name.starts_with("shadow")
        || name.starts_with("gshadow")
        || name.starts_with("ssh_host_") && !name.ends_with(".pub")
}

/// Whether a file of `/etc` is not read out because its owner closed it to
/// everyone else.
pub(super) fn is_closed(path: &str, mode: u32) -> bool {
    mode & 0o044 == 0
        && !READ_THOUGH_CLOSED
            .iter()
            .any(|place| path.starts_with(place))
}

/// Overwrites the values of passwords in a text of configuration; its length
/// and everything else stay.
pub(super) fn hide_passwords(path: &str, content: &mut [u8]) {
    // There `passwd:` says where users come from.
    if path.ends_with("nsswitch.conf") {
        return;
    }
    for line in content.split_mut(|byte| *byte == b'\n') {
        let lower = line.to_ascii_lowercase();
        for value in values(&lower).chain(in_urls(&lower)) {
            line[value].fill(b'*');
        }
    }
}

/// Where the values of secret keys stand in a line in lower case.
fn values(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let place = from + line[from..].iter().position(|byte| b"=:".contains(byte))?;
            from = place + 1;
            let before = line[..place].trim_ascii_end();
            let before = before.strip_suffix(b"\"").unwrap_or(before);
            let before = before.strip_suffix(b"'").unwrap_or(before);
            let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
            let length = before.iter().rev().take_while(|byte| is_key(byte)).count();
            let start = before.len() - length;
            if is_secret_key(&before[start..]) {
                let value = value_at(line, start, from);
                from = value.end;
                return Some(value);
            }
        }
    })
}

fn is_secret_key(key: &[u8]) -> bool {
    let holds = |part: &str| key.windows(part.len()).any(|some| some == part.as_bytes());
    key.ends_with(b"pass") || SECRET_KEYS.iter().any(|part| holds(part))
}

/// The value behind a key: what is in quotes, the rest of a line that begins
/// with the key, or a word.
fn value_at(line: &[u8], key: usize, behind: usize) -> Range<usize> {
    let blanks = line[behind..]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace());
    let start = behind + blanks.count();
    let rest = &line[start..];
    let until = |ends: &dyn Fn(&u8) -> bool| rest.iter().position(ends).unwrap_or(rest.len());
    if let Some(quote) = rest.first().filter(|first| b"\"'".contains(first)) {
        let inner = rest[1..].iter().position(|byte| byte == quote);
        return start + 1..start + 1 + inner.unwrap_or(rest.len() - 1);
    }
    let is_first = line[..key].iter().all(|byte| b" \t\"'".contains(byte));
    let length = match is_first {
        true => until(&|byte| *byte == b'\r'),
        false => until(&|byte| byte.is_ascii_whitespace() || b",;&\"'".contains(byte)),
    };
    start..start + length
}

/// The password of `scheme://user:password@host`.
fn in_urls(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + line[from..].windows(3).position(|some| some == b"://")? + 3;
            from = start;
            let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/\"'".contains(byte);
            let authority = line[start..].split(ends).next().unwrap_or_default();
            let user = authority.iter().rposition(|byte| *byte == b'@');
            let user = &authority[..user.unwrap_or(0)];
            if let Some(colon) = user.iter().position(|byte| *byte == b':') {
                return Some(start + colon + 1..start + user.len());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_are_hidden_and_hosts_stay() {
        for (text, expected) in [
            (
                "//nas/x /mnt cifs user=u,password=p$ss,uid=1 0 0",
                "//nas/x /mnt cifs user=u,password=****,uid=1 0 0",
            ),
            ("psk=my pass phrase\r", "psk=**************\r"),
            ("  DB_PASS: x", "  DB_PASS: *"),
            ("DB_PASSWORD = \"a b\" # c", "DB_PASSWORD = \"***\" # c"),
            (
                "{\"password\": \"abc\", \"host\": \"db1\"}",
                "{\"password\": \"***\", \"host\": \"db1\"}",
            ),
            (
                "url=postgres://app:geheim@db1:5432/x",
                "url=postgres://app:******@db1:5432/x",
            ),
            (
                "connect = dbname=mail password=abc host=db1",
                "connect = dbname=mail password=*** host=db1",
            ),
            (
                "Environment=SECRET_KEY=abc HOST=db1",
                "Environment=SECRET_KEY=*** HOST=db1",
            ),
            ("ldap_default_authtok = abc", "ldap_default_authtok = ***"),
            (
                "auth:\n  token: abc\n  host: b",
                "auth:\n  token: ***\n  host: b",
            ),
            ("server=http://db1:80/a@b", "server=http://db1:80/a@b"),
            (
                "password requisite pam_unix.so",
                "password requisite pam_unix.so",
            ),
            ("password=", "password="),
            ("password=\"", "password=\""),
        ] {
            let mut content = text.as_bytes().to_vec();
            hide_passwords("etc/x", &mut content);
            assert_eq!(String::from_utf8(content).unwrap(), expected);
        }
        let mut sources = b"passwd: files sss".to_vec();
        hide_passwords("etc/nsswitch.conf", &mut sources);
        assert_eq!(sources, b"passwd: files sss");
    }

    #[test]
    fn files_by_name_and_mode() {
        for path in [
            "etc/shadow.bak",
            "etc/mysql/debian.cnf",
            "etc/ppp/chap-secrets",
            "etc/ipsec.secrets",
            "etc/exim4/passwd.client",
            "etc/tomcat/a.JKS",
            "etc/wireguard/wg0.conf",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in ["etc/ssh/ssh_host_rsa_key.pub", "etc/fstab", "etc/passwd"] {
            assert!(!is_secret(path), "{path}");
        }
        assert!(is_closed("etc/app/config", 0o600));
        assert!(!is_closed("etc/app/config", 0o640));
        assert!(!is_closed("etc/netplan/a.yaml", 0o600));
    }

    proptest! {
        #[test]
        fn nothing_but_values_changes(text in "(password|psk|x|=|:|://|@|\"|'|,| |\n|\r|ä)*") {
            let mut once = text.clone().into_bytes();
            hide_passwords("etc/x", &mut once);
            prop_assert_eq!(once.len(), text.len());
            for (old, new) in text.bytes().zip(&once) {
                prop_assert!(old == *new || *new == b'*');
            }
        }
    }
}
