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
/// Beginnings of paths below which there is nothing but secrets.
const PLACES: [&str; 11] = [
    "etc/dovecot/passwd",
    "etc/dovecot/users",
    "etc/ssl/private",
    "etc/pki/tls/private",
    "etc/letsencrypt/archive",
    "etc/letsencrypt/accounts",
    "etc/wireguard",
    "etc/wpa_supplicant",
    "etc/swanctl/private",
    "etc/sysconfig/network-scripts/keys-",
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

/// Parts of keys whose values are secrets, in lower case and without what
/// joins words: `private-key`, `private_key` and `PrivateKey` are one.
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
    "privatekey",
    "presharedkey",
    "wepkey",
    "wirelesskey",
];

/// Keys that mean a secret in some places only.
const KEYS_OF_PLACES: [(&str, &[&str]); 2] = [
    ("etc/netplan/", &["key", "private", "shared"]),
    ("etc/systemd/network/", &["key"]),
];

/// There a line that begins with `password` says how passwords are treated.
const WORDS_OF_THEIR_OWN: [&str; 5] = [
    "etc/pam.d/",
    "etc/pam.conf",
    "etc/security/",
    "etc/services",
    "etc/ssh/",
];

/// Whether a file is not read out by its path.
pub(super) fn is_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str())
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        || PLACES.iter().any(|place| path.starts_with(place))
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
pub fn hide_passwords(path: &str, content: &mut [u8]) {
    // There `passwd:` says where users come from.
    if path.ends_with("nsswitch.conf") {
        return;
    }
    let keys = Keys::of(path);
    for line in content.split_mut(|byte| *byte == b'\n') {
        let lower = line.to_ascii_lowercase();
        let values = keys.values(&lower).chain(keys.behind_blank(&lower));
        for value in values.chain(in_urls(&lower)) {
            line[value].fill(b'*');
        }
    }
}

/// Which keys mean a secret in a file.
struct Keys {
    also: &'static [&'static str],
    begin_lines: bool,
}

impl Keys {
    fn of(path: &str) -> Self {
        let mut places = KEYS_OF_PLACES.iter();
        let place = places.find(|(place, _)| path.starts_with(place));
        let mut others = WORDS_OF_THEIR_OWN.iter();
        Self {
            also: place.map(|(_, keys)| *keys).unwrap_or_default(),
            begin_lines: !others.any(|place| path.starts_with(place)),
        }
    }

    /// Where the values of secret keys stand in a line in lower case.
    fn values(&self, line: &[u8]) -> impl Iterator<Item = Range<usize>> {
        let first = line.iter().position(|byte| !b" \t\"'".contains(byte));
        let first = first.unwrap_or(line.len());
        let mut from = 0;
        std::iter::from_fn(move || {
            loop {
                let place = from + line[from..].iter().position(|byte| b"=:,".contains(byte))?;
                from = place + 1;
                let (key, is_argument) = key_before(&line[..place]);
                // Anywhere else a comma ends a value.
                let separates = is_argument || line[place] != b',';
                if separates && self.is_secret(&line[key.clone()]) {
                    let value = value_at(line, key.start <= first, from);
                    from = value.end;
                    return Some(value);
                }
            }
        })
    }

    /// The rest of a line that begins with a secret key and a blank, as those of
    /// nslcd and ifupdown do.
    fn behind_blank(&self, line: &[u8]) -> Option<Range<usize>> {
        let start = line.iter().position(|byte| !b" \t".contains(byte))?;
        let length = line[start..].iter().position(|byte| !is_key(byte))?;
        let end = start + length;
        let blanks = line[end..].iter().position(|byte| !b" \t".contains(byte))?;
        let value = end + blanks;
        let is_value = blanks > 0 && !b"=:".contains(&line[value]);
        let ends = line[value..].iter().position(|byte| *byte == b'\r');
        (self.begin_lines && is_value && self.is_secret(&line[start..end]))
            .then(|| value..ends.map_or(line.len(), |length| value + length))
    }

    fn is_secret(&self, key: &[u8]) -> bool {
        let joined = key.iter().filter(|byte| !b"-_.".contains(byte)).copied();
        let joined: Vec<u8> = joined.collect();
        let holds = |part: &str| {
            joined
                .windows(part.len())
                .any(|some| some == part.as_bytes())
        };
        joined.ends_with(b"pass")
            || SECRET_KEYS.iter().any(|part| holds(part))
            || self.also.iter().any(|also| joined == also.as_bytes())
    }
}

fn is_key(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(byte)
}

/// Where the key before a separator stands, and whether it is the first
/// argument of a function (`define('DB_PASSWORD', 'x')`).
fn key_before(text: &[u8]) -> (Range<usize>, bool) {
    let text = text.trim_ascii_end();
    // `passwords += x`, `settings['password'] = x`
    let text = text.strip_suffix(b"+").unwrap_or(text).trim_ascii_end();
    let text = text.strip_suffix(b"]").unwrap_or(text);
    let bare = text.strip_suffix(b"\"").or(text.strip_suffix(b"'"));
    let inner = bare.unwrap_or(text);
    let length = inner.iter().rev().take_while(|byte| is_key(byte)).count();
    let start = inner.len() - length;
    let before = &inner[..start];
    let is_argument = before.ends_with(b"(\"") || before.ends_with(b"('");
    (start..inner.len(), is_argument)
}

/// The value behind a separator and what belongs to it (`:=`, `=>`): what is in
/// quotes, the rest of a line that begins with the key, or a word.
fn value_at(line: &[u8], is_first: bool, behind: usize) -> Range<usize> {
    let signs = line[behind..]
        .iter()
        .take_while(|byte| b"=>:".contains(byte));
    let behind = behind + signs.count();
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
            ("password=", "password="),
            ("password=\"", "password=\""),
            ("password   ", "password   "),
            ("bindpw GEHEIM", "bindpw ******"),
            ("  wpa-psk a b\r", "  wpa-psk ***\r"),
            ("bind_pw = GEHEIM", "bind_pw = ******"),
            ("PrivateKey=YWJj=", "PrivateKey=*****"),
            ("PresharedKey = YWJj=", "PresharedKey = *****"),
            ("preshared-key=YWJj=", "preshared-key=*****"),
            ("wep_key0=\"abc\"", "wep_key0=\"***\""),
            (
                "bob Cleartext-Password := \"GEHEIM\"",
                "bob Cleartext-Password := \"******\"",
            ),
            (
                "array('password' => 'GEHEIM', 'host' => 'db1')",
                "array('password' => '******', 'host' => 'db1')",
            ),
            ("$db['password'] = 'GEHEIM';", "$db['password'] = '******';"),
            (
                "define('DB_PASSWORD', 'GEHEIM'); x",
                "define('DB_PASSWORD', '******'); x",
            ),
            (
                "{\"type\": \"password\", \"host\": \"db1\"}",
                "{\"type\": \"password\", \"host\": \"db1\"}",
            ),
            ("key: abc", "key: abc"),
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
    fn words_mean_different_things_in_different_files() {
        let hidden = |path: &str, text: &str| {
            let mut content = text.as_bytes().to_vec();
            hide_passwords(path, &mut content);
            String::from_utf8(content).unwrap()
        };
        let tunnel = "key: YWJj=\nkeys:\n  private: YWJj=\n  public: YWJj=\npeers:\n- keys: {shared: YWJj=, public: b}\n";
        assert_eq!(
            hidden("etc/netplan/a.yaml", tunnel),
            "key: *****\nkeys:\n  private: *****\n  public: YWJj=\npeers:\n- keys: {shared: *****, public: b}\n"
        );
        assert_eq!(
            hidden("etc/systemd/network/a.netdev", "Key=00ff"),
            "Key=****"
        );
        for (path, text) in [
            ("etc/pam.d/sudo", "password requisite pam_unix.so"),
            ("etc/ssh/sshd_config", "PasswordAuthentication yes"),
            ("etc/services", "kpasswd 464/tcp"),
        ] {
            assert_eq!(hidden(path, text), text);
        }
    }

    /// A line that takes each of its bytes for every other does not end.
    #[test]
    fn long_lines_take_little_time() {
        let start = std::time::Instant::now();
        for begin in [" ", "psk=a ", "x= ", "\"psk\"=", "http://a:b@"] {
            let mut line = b" ".repeat(1 << 18);
            line.extend(b"x ");
            line.extend(begin.as_bytes().repeat((1 << 18) / begin.len()));
            line.extend(b"psk=a ".repeat(1 << 15));
            hide_passwords("etc/x", &mut line);
            assert!(line.ends_with(b"* "), "{begin}");
        }
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
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
            "etc/dovecot/users",
            "etc/dovecot/passwd.master",
            "etc/sysconfig/network-scripts/keys-wlan0",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in [
            "etc/ssh/ssh_host_rsa_key.pub",
            "etc/fstab",
            "etc/passwd",
            "etc/dovecot/dovecot.conf",
        ] {
            assert!(!is_secret(path), "{path}");
        }
        assert!(is_closed("etc/app/config", 0o600));
        assert!(!is_closed("etc/app/config", 0o640));
        assert!(!is_closed("etc/netplan/a.yaml", 0o600));
    }

    proptest! {
        #[test]
        fn nothing_but_values_changes(text in "(password|psk|x|=|>|:|://|@|\"|'|,| |\n|\r|ä)*") {
            let mut once = text.clone().into_bytes();
            hide_passwords("etc/x", &mut once);
            prop_assert_eq!(once.len(), text.len());
            for (old, new) in text.bytes().zip(&once) {
                prop_assert!(old == *new || *new == b'*');
            }
        }
    }
}
