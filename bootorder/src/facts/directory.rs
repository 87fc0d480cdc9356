//! Who holds users and keys: nslcd, ldap.conf, sssd, Kerberos, and PostgreSQL's access file.

use super::{FactReader, Reference, host_and_port, is_host_like, lines, reference, url_parts};

pub(super) struct Directory;

impl FactReader for Directory {
    fn claims(&self, file: &str) -> bool {
        let names = [
            "nslcd.conf",
            "ldap.conf",
            "libnss-ldap.conf",
            "pam_ldap.conf",
            "sssd.conf",
            "krb5.conf",
            "realmd.conf",
        ];
        let name = file.rsplit('/').next().unwrap_or(file);
        file.starts_with("etc/") && (names.contains(&name) || file.starts_with("etc/sssd/conf.d/"))
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        for (number, line) in lines(text) {
            let at = line.find([' ', '\t', '=']).unwrap_or(line.len());
            let (key, value) = line.split_at(at);
            let value = value.trim_start_matches([' ', '\t', '=']);
            let service = match key.to_ascii_lowercase().as_str() {
                "uri" | "host" | "ldap_uri" | "ldap_backup_uri" | "ldap_chpass_uri"
                | "ipa_server" | "ipa_backup_server" | "ad_server" | "ad_backup_server"
                | "ad_domain" | "ipa_domain" | "realm" => "directory",
                "kdc" | "admin_server" | "krb5_server" | "krb5_backup_server" | "krb5_kpasswd"
                | "kpasswd_server" | "master_kdc" | "primary_kdc" | "default_realm"
                | "krb5_realm" => "kerberos",
                _ => continue,
            };
            for word in value
                .split([' ', '\t', ','])
                .filter(|word| !word.is_empty())
            {
                let host =
                    url_parts(word).map_or_else(|| host_and_port(word).0, |(_, host, _)| host);
                if is_host_like(host) && !word.starts_with("ldapi:") {
                    out.push(reference(file, (number, line), host, service));
                }
            }
        }
    }
}

/// `pg_hba.conf`: only the directory servers; the other hosts in it are clients.
pub(super) struct PostgresAccess;

impl FactReader for PostgresAccess {
    fn claims(&self, file: &str) -> bool {
        file.ends_with("pg_hba.conf")
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        for (number, line) in lines(text) {
            let (key, rest) = match (line.split_once("ldapserver="), line.split_once("ldapurl=")) {
                (Some((_, rest)), _) => ("ldapserver", rest),
                (None, Some((_, rest))) => ("ldapurl", rest),
                (None, None) => match line.split_once("radiusservers=") {
                    Some((_, rest)) => ("radiusservers", rest),
                    None => continue,
                },
            };
            let quoted = rest
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            let value = quoted
                .or_else(|| rest.split_whitespace().next())
                .unwrap_or("");
            let service = if key == "radiusservers" {
                "radius"
            } else {
                "directory"
            };
            for word in value.split([' ', ',']) {
                let host = url_parts(word).map_or(word, |(_, host, _)| host);
                if is_host_like(host) {
                    out.push(reference(file, (number, line), host, service));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::tests::check;

    #[test]
    fn directory_servers() {
        check(
            "etc/nslcd.conf",
            "uid nslcd\nuri ldap://dir1.site/\nuri ldapi:///\n",
            &[("dir1.site", "directory", 2)],
        );
        check(
            "etc/ldap/ldap.conf",
            "URI ldap://dir1 ldaps://dir2:636\n",
            &[("dir1", "directory", 1), ("dir2", "directory", 1)],
        );
        check(
            "etc/sssd/sssd.conf",
            "[domain/x]\nldap_uri = ldap://dir1\nkrb5_server = dir1:88\n",
            &[("dir1", "directory", 2), ("dir1", "kerberos", 3)],
        );
        check(
            "etc/krb5.conf",
            "[realms]\n X = {\n  kdc = dir1.site\n }\n",
            &[("dir1.site", "kerberos", 3)],
        );
        check(
            "etc/sssd/sssd.conf",
            "[domain/x]\nad_domain = site.example\nkrb5_realm = SITE.EXAMPLE\n",
            &[
                ("site.example", "directory", 2),
                ("SITE.EXAMPLE", "kerberos", 3),
            ],
        );
    }

    #[test]
    fn only_the_directory_of_pg_hba() {
        let text = "host all all 10.0.0.0/24 scram-sha-256\nhost app app web1 ldap ldapserver=dir1 ldapprefix=\"uid=\"\nhost x x all ldap ldapurl=\"ldap://dir2/dc=x?uid\"\n";
        check(
            "etc/postgresql/15/main/pg_hba.conf",
            text,
            &[("dir1", "directory", 2), ("dir2", "directory", 3)],
        );
    }
}
