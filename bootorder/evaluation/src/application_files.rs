//! Settings of applications: databases, caches, queues, in the many ways in which they are kept.

use crate::client_files::{Client, POSTFIX};
use crate::model::{Kind, Link};
use crate::tree::Tree;

/// Writes where an application finds the server of a need.
pub fn write(c: &Client, tree: &mut Tree) {
    match c.need.link {
        Link::SqlPostgres | Link::SqlMariadb => sql(c, tree),
        Link::Cache => setting(
            c,
            tree,
            "REDIS_URL",
            &format!("redis://{}:6379/0", c.target),
        ),
        Link::Queue => setting(
            c,
            tree,
            "AMQP_URL",
            &format!("amqp://{}:s3cret@{}:5672//", c.label, c.target),
        ),
        Link::Document => setting(
            c,
            tree,
            "MONGODB_URI",
            &format!("mongodb://{}:27017/{}", c.target, c.label),
        ),
        Link::Search => setting(
            c,
            tree,
            "ELASTICSEARCH_URL",
            &format!("http://{}:9200", c.target),
        ),
        Link::MailRelay => setting(c, tree, "SMTP_HOST", &c.target),
        _ => {}
    }
}

/// Which of the usual ways an application keeps its settings.
fn style(c: &Client) -> usize {
    c.label.bytes().map(usize::from).sum::<usize>() % 4
}

fn url(c: &Client) -> String {
    match c.need.link {
        Link::SqlPostgres => format!("postgresql://{0}:s3cret@{1}:5432/{0}", c.label, c.target),
        _ => format!("mysql+pymysql://{0}:s3cret@{1}:3306/{0}", c.label, c.target),
    }
}

fn sql(c: &Client, tree: &mut Tree) {
    let postgres = c.need.link == Link::SqlPostgres;
    let (target, label, port) = (&c.target, c.label, c.port);
    let product = if postgres { "postgresql" } else { "mysql" };
    match c.kind {
        Kind::PythonApp if style(c) == 1 => tree.add(format!("etc/{label}/settings.py"), format!("DATABASES = {{\n    'default': {{\n        'ENGINE': 'django.db.backends.{product}',\n        'NAME': '{label}',\n        'USER': '{label}',\n        'PASSWORD': 's3cret',\n        'HOST': '{target}',\n        'PORT': '{port}',\n    }}\n}}")),
        Kind::PythonApp if style(c) == 2 => tree.add(format!("etc/{label}/config.yaml"), format!("debug: false\ndatabase:\n  engine: {product}\n  host: {target}\n  port: {port}\n  name: {label}\n  password: s3cret")),
        Kind::PythonApp => setting(c, tree, "DATABASE_URL", &url(c)),
        Kind::NodeApp if style(c) == 1 => tree.add(format!("etc/{label}/config.json"), format!("{{\n  \"db\": {{\n    \"host\": \"{target}\",\n    \"port\": {port},\n    \"database\": \"{label}\",\n    \"user\": \"{label}\"\n  }}\n}}")),
        Kind::NodeApp => {
            setting(c, tree, "DB_HOST", target);
            setting(c, tree, "DB_PORT", &port.to_string());
        }
        Kind::JavaApp if style(c) == 1 => tree.add(format!("etc/{label}/application.properties"), format!("server.port=8080\nspring.datasource.url=jdbc:{product}://{target}:{port}/{label}\nspring.datasource.username={label}\nspring.datasource.password=s3cret")),
        Kind::JavaApp if style(c) == 2 => tree.add(format!("etc/{label}/application.yml"), format!("server:\n  port: 8080\nspring:\n  datasource:\n    url: jdbc:{product}://{target}:{port}/{label}\n    username: {label}")),
        Kind::JavaApp => {
            let conf = if c.debian { "etc/tomcat10" } else { "etc/tomcat" };
            tree.add(format!("{conf}/context.xml"), format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Context>\n    <WatchedResource>WEB-INF/web.xml</WatchedResource>\n    <Resource name=\"jdbc/{label}\" auth=\"Container\" type=\"javax.sql.DataSource\"\n              username=\"{label}\" password=\"s3cret\"\n              url=\"jdbc:{product}://{target}:{port}/{label}\"/>\n</Context>"));
        }
        Kind::PhpSite if style(c) == 1 => tree.add("var/www/nextcloud/config/config.php", format!("<?php\n$CONFIG = array (\n  'dbtype' => '{}',\n  'dbname' => 'nextcloud',\n  'dbhost' => '{target}:{port}',\n  'dbuser' => 'nextcloud',\n);", if postgres { "pgsql" } else { "mysql" })),
        Kind::PhpSite if style(c) == 2 => {
            setting(c, tree, "DB_CONNECTION", if postgres { "pgsql" } else { "mysql" });
            setting(c, tree, "DB_HOST", target);
        }
        Kind::Grafana => tree.add("etc/grafana/grafana.ini", format!("[server]\n;http_port = 3000\n\n[database]\ntype = {}\nhost = {target}:{port}\nname = grafana\nuser = grafana\npassword = s3cret", if postgres { "postgres" } else { "mysql" })),
        Kind::PhpSite if postgres => tree.add("var/www/html/config.php", format!("<?php\n$config['db_dsn'] = 'pgsql:host={target};port=5432;dbname={label}';\n$config['db_user'] = '{label}';")),
        Kind::PhpSite => tree.add("var/www/html/wp-config.php", format!("<?php\ndefine( 'DB_NAME', '{label}' );\ndefine( 'DB_USER', '{label}' );\ndefine( 'DB_PASSWORD', 's3cret' );\ndefine( 'DB_HOST', '{target}' );\n$table_prefix = 'wp_';")),
        Kind::Gitea => tree.add("etc/gitea/app.ini", format!("APP_NAME = Git\nRUN_MODE = prod\n\n[database]\nDB_TYPE  = {}\nHOST     = {target}:{port}\nNAME     = gitea\nUSER     = gitea\nPASSWD   = s3cret\n\n[server]\nHTTP_PORT = 3000", if postgres { "postgres" } else { "mysql" })),
        Kind::Zabbix => tree.add("etc/zabbix/zabbix_server.conf", format!("### Option: DBHost\n# Default:\n# DBHost=localhost\n\nLogType=system\nDBHost={target}\nDBName=zabbix\nDBUser=zabbix\nDBPassword=s3cret")),
        Kind::Bacula => tree.add("etc/bacula/bacula-dir.conf", format!("Catalog {{\n  Name = MyCatalog\n  dbname = \"bacula\"; DB Address = \"{target}\"; dbuser = \"bacula\"; dbpassword = \"s3cret\"\n}}")),
        Kind::Postfix => {
            tree.add_below("etc/postfix/main.cf", POSTFIX, "virtual_mailbox_domains = mysql:/etc/postfix/mysql-virtual-domains.cf");
            tree.add("etc/postfix/mysql-virtual-domains.cf", format!("user = mail\npassword = s3cret\nhosts = {target}\ndbname = mail\nquery = SELECT 1 FROM domains WHERE name='%s'"));
        }
        Kind::Dovecot => tree.add("etc/dovecot/dovecot-sql.conf.ext", format!("driver = mysql\nconnect = host={target} dbname=mail user=mail password=s3cret\ndefault_pass_scheme = SHA512-CRYPT")),
        _ => {}
    }
}

/// An application's setting, where its administrators keep settings.
fn setting(c: &Client, tree: &mut Tree, key: &str, value: &str) {
    match c.kind {
        Kind::PhpSite => tree.add_below(
            "var/www/html/.env",
            "APP_ENV=prod",
            format!("{key}={value}"),
        ),
        Kind::JavaApp => {
            let file = if c.debian {
                "etc/default/tomcat10"
            } else {
                "etc/tomcat/tomcat.conf"
            };
            tree.add(
                file,
                format!(
                    "JAVA_OPTS=\"$JAVA_OPTS -D{}={value}\"",
                    key.to_lowercase().replace('_', ".")
                ),
            );
        }
        Kind::NodeApp if c.need.client.0.is_multiple_of(2) => tree.add(
            format!("etc/systemd/system/{}.service.d/environment.conf", c.label),
            format!("[Service]\nEnvironment={key}={value}"),
        ),
        _ if c.debian => tree.add(format!("etc/default/{}", c.label), format!("{key}={value}")),
        _ => tree.add(
            format!("etc/sysconfig/{}", c.label),
            format!("{key}={value}"),
        ),
    }
}
