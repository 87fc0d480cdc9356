//! Files that mislead: stale configuration, and that of those who contact everybody.

use fastrand::Rng;

use crate::model::{Kind, Site};
use crate::tree::Tree;

/// Configuration that points to what is no longer there or no longer used.
pub fn write_stale(site: &Site, index: usize, rng: &mut Rng, tree: &mut Tree) {
    let other = &site.machines[rng.usize(..site.machines.len())];
    if other.name == site.machines[index].name {
        return;
    }
    let (name, address) = (&other.name, &other.address);
    match rng.u8(..12) {
        0 => tree.add("etc/hosts", format!("{}.253\told-{name} legacy-db", site.network)),
        1 => tree.add("etc/fstab.bak", format!("{name}:/srv/export /srv/export nfs defaults 0 0")),
        2 => tree.add("etc/fstab", format!("#{name}:/export/old /mnt/old nfs defaults,noauto 0 0")),
        3 => tree.add("etc/default/legacy.dpkg-old", format!("DATABASE_URL=postgresql://legacy:s3cret@{address}:5432/legacy")),
        4 => tree.add("etc/default/importer", format!("# moved to the new cluster\n#DATABASE_URL=postgresql://importer:s3cret@{name}:5432/importer\nVERBOSE=1")),
        5 => tree.add("etc/ssh/ssh_known_hosts", format!("{name},{address} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVlbm90cmVhbGtleQ")),
        6 => {
            // A database that was retired; its address serves something else today.
            tree.add("etc/hosts", format!("{address}\told-db"));
            tree.add("etc/default/importer", "DATABASE_URL=postgresql://importer:s3cret@old-db:5432/importer");
        }
        7 => tree.add("etc/systemd/system/legacy.service", format!("[Unit]\nDescription=Legacy importer, switched off\n\n[Service]\nEnvironment=DB_HOST={name}\nExecStart=/opt/legacy/run\n\n[Install]\nWantedBy=multi-user.target")),
        8 => tree.add("etc/nginx/sites-available/old-portal", format!("server {{\n    listen 80;\n    location / {{\n        proxy_pass http://{name}:8080;\n    }}\n}}")),
        9 => tree.add("etc/cron.d/mirror", format!("15 3 * * * root rsync -a {name}:/srv/ /srv/mirror/")),
        10 => tree.add("etc/motd", format!("Moved from {name} in 2021. Backups go to {address}.")),
        _ => tree.add("etc/hosts.allow", format!("sshd: {address} {name}")),
    }
}

/// What everybody's configuration says of those who contact everybody.
pub fn write_agents(site: &Site, index: usize, tree: &mut Tree) {
    for (other, machine) in site
        .machines
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
    {
        let full = site.full_name(other);
        for program in &machine.programs {
            match program.kind {
                Kind::Zabbix => tree.add("etc/zabbix/zabbix_agentd.conf", format!("LogType=system\nServer={full}\nServerActive={full}\nHostname={}", site.machines[index].name)),
                Kind::Nagios => tree.add("etc/nagios/nrpe.cfg", format!("server_port=5666\nallowed_hosts=127.0.0.1,{}", machine.address)),
                Kind::Bacula => tree.add("etc/bacula/bacula-fd.conf", format!("Director {{\n  Name = {}-dir\n  Password = \"s3cret\"\n}}\nFileDaemon {{\n  Name = {}-fd\n  FDport = 9102\n}}", machine.name, site.machines[index].name)),
                Kind::LogHost => tree.add("etc/rsyslog.d/90-forward.conf", format!("*.* action(type=\"omfwd\" target=\"{full}\" port=\"514\" protocol=\"tcp\" queue.type=\"LinkedList\" action.resumeRetryCount=\"-1\")")),
                _ => {}
            }
        }
    }
}
