//! What distributions call their units, for logs that give nothing else ("Started The Apache HTTP
//! Server."), and the unit that is meant.

const DESCRIPTIONS: &[(&str, &str)] = &[
    ("mariadb", "mariadb"),
    ("mysql", "mysqld"),
    ("postgresql", "postgresql"),
    ("berkeley internet name domain", "named"),
    ("bind domain name server", "named"),
    ("unbound", "unbound"),
    ("dns caching server", "dnsmasq"),
    ("openldap", "slapd"),
    ("389 directory server", "dirsrv"),
    ("kerberos 5 kdc", "krb5kdc"),
    ("apache http server", "apache2"),
    ("nginx", "nginx"),
    ("high performance web server", "nginx"),
    ("haproxy load balancer", "haproxy"),
    ("nfs server and services", "nfs-server"),
    ("samba smb daemon", "smbd"),
    ("samba nmb daemon", "nmbd"),
    ("dhcpv4 server daemon", "dhcpd"),
    ("isc dhcp ipv4 server", "isc-dhcp-server"),
    ("redis persistent key-value", "redis"),
    ("advanced key-value store", "redis-server"),
    ("memcached", "memcached"),
    ("postfix mail transport agent", "postfix"),
    ("dovecot imap", "dovecot"),
    ("rabbitmq", "rabbitmq-server"),
    ("elasticsearch", "elasticsearch"),
    ("mongodb", "mongod"),
    ("document-oriented database", "mongod"),
    ("squid", "squid"),
    ("apache tomcat", "tomcat"),
    ("openssh", "sshd"),
    ("openbsd secure shell server", "ssh"),
    ("restore lio kernel target", "target"),
    ("php", "php-fpm"),
];

/// The unit behind "Started DESCRIPTION." of a log that names none.
pub(crate) fn unit_of_description(message: &str) -> Option<&'static str> {
    let description = message
        .strip_prefix("Started ")?
        .get(..80.min(message.len() - 8))?;
    let description = description.to_ascii_lowercase();
    let known = DESCRIPTIONS
        .iter()
        .find(|(words, _)| description.contains(words));
    known.map(|(_, unit)| *unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_lead_to_units() {
        let unit = unit_of_description;
        assert_eq!(
            unit("Started MariaDB 10.5 database server."),
            Some("mariadb")
        );
        assert_eq!(unit("Started The Apache HTTP Server."), Some("apache2"));
        assert_eq!(unit("Started Session 4 of user root."), None);
        assert_eq!(unit("Started é"), None);
        assert_eq!(unit("Star"), None);
    }
}
