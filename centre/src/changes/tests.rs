//! Inventories in; changes, divergences and alerts out, over a real database.

use lifeboat_agent::wire::{Configuration, Package, ServiceState, Volume};

use super::*;
use crate::alerts::{Alert, Patience};
use crate::store::Store;

struct House {
    store: Store,
    changes: Changes,
    alerts: Alerts,
    now: UnixMillis,
    _folder: tempfile::TempDir,
}

async fn house() -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("a store");
    let alerts = Alerts::new(store.pool().clone(), Patience::default());
    let changes = Changes::new(store.pool().clone(), alerts.clone());
    House {
        store,
        changes,
        alerts,
        now: 1_795_000_000_000,
        _folder: folder,
    }
}

fn origin(side: Side) -> Origin {
    Origin {
        application: "mail".to_owned(),
        side,
        host: match side {
            Side::Primary => "mail-a".to_owned(),
            Side::Secondary => "mail-b".to_owned(),
        },
        role: Role::Application,
    }
}

fn file(path: &str, hash: &str) -> Configuration {
    Configuration {
        path: path.to_owned(),
        hash: Some(hash.to_owned()),
        size: 10,
        modified: 0,
    }
}

fn inventory() -> Inventory {
    let package = |name: &str| Package {
        name: name.to_owned(),
        version: "1".to_owned(),
    };
    Inventory {
        system: "Debian 12".to_owned(),
        kernel: "6.1".to_owned(),
        packages: vec![package("dovecot-core:amd64"), package("vim:amd64")],
        configuration: vec![file("/etc/postfix/main.cf", "aa")],
        volumes: vec![Volume {
            mount_point: "/srv/mail".to_owned(),
            device: "/dev/vdb".to_owned(),
            filesystem: "ext4".to_owned(),
            size: 1000,
        }],
        services: vec![ServiceState {
            name: "dovecot".to_owned(),
            running: true,
            starts_at_boot: Some(false),
        }],
        ..Inventory::default()
    }
}

impl House {
    async fn take(&mut self, side: Side, inventory: &Inventory) -> Vec<Change> {
        self.now += 3_600_000;
        let origin = origin(side);
        let serves = Some(Side::Primary);
        let taken = self
            .changes
            .take(&origin, inventory, None, serves, self.now);
        taken.await.expect("taken")
    }

    async fn open(&self) -> Vec<(String, Verdict, bool)> {
        let open = self
            .changes
            .divergences("mail", true, 100)
            .await
            .expect("read");
        let short = |one: Divergence| (one.difference.name, one.verdict, one.confirmed);
        open.into_iter().map(short).collect()
    }

    async fn alerts(&self) -> Vec<Alert> {
        self.alerts.list(None, false, 100).await.expect("read")
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(self.store.pool())
            .await
            .expect("counted")
    }
}

#[tokio::test]
async fn equal_sites_and_equal_times_say_nothing_and_cost_nothing() {
    let mut house = house().await;
    for _ in 0..10 {
        assert_eq!(house.take(Side::Primary, &inventory()).await, []);
        assert_eq!(house.take(Side::Secondary, &inventory()).await, []);
    }
    assert_eq!(house.open().await, []);
    assert_eq!(house.alerts().await, []);
    assert_eq!(house.count("SELECT count(*) FROM inventories").await, 2);
    assert_eq!(
        house.count("SELECT count(*) FROM inventory_lists").await,
        5,
        "both hosts share them"
    );
    let known = house
        .changes
        .inventories("mail", "mail-a")
        .await
        .expect("read");
    assert_eq!(known[0].last_at - known[0].first_at, 18 * 3_600_000);
}

#[tokio::test]
async fn a_change_of_configuration_is_told_and_the_other_site_when_it_does_not_follow() {
    let mut house = house().await;
    house.take(Side::Primary, &inventory()).await;
    house.take(Side::Secondary, &inventory()).await;
    let mut changed = inventory();
    changed.configuration = vec![file("/etc/postfix/main.cf", "bb")];
    let changes = house.take(Side::Primary, &changed).await;
    assert_eq!(
        (changes.len(), changes[0].rule.as_str()),
        (1, "configuration-changed")
    );
    let name = "/etc/postfix/main.cf".to_owned();
    assert_eq!(
        house.open().await,
        [(name.clone(), Verdict::Warning, false)]
    );
    let alerts = house.alerts().await;
    assert_eq!(alerts.len(), 1, "the other site may follow yet: {alerts:?}");
    assert!(
        alerts[0]
            .title
            .contains("1 thing changed on mail-a (primary)")
    );
    assert!(alerts[0].text.contains("sha256 aa") && alerts[0].text.contains("sha256 bb"));

    house.take(Side::Secondary, &inventory()).await;
    assert_eq!(house.open().await, [(name, Verdict::Warning, true)]);
    let open = house.alerts.list(None, true, 10).await.expect("read");
    assert_eq!(open.len(), 1);
    assert!(
        open[0]
            .title
            .contains("1 difference may stand in the way of a switch")
    );
    assert_eq!(
        house.changes.endangering("mail").await.expect("read").len(),
        1
    );

    house.take(Side::Secondary, &changed).await;
    assert_eq!(house.open().await, []);
    let all = house.alerts().await;
    let ended = all
        .iter()
        .find(|alert| alert.key == "divergence/mail")
        .expect("one");
    assert_eq!(ended.over_how.as_deref(), Some("It is well again."));
}

#[tokio::test]
async fn whoever_changes_both_sites_one_after_the_other_hears_of_no_difference() {
    let mut house = house().await;
    house.take(Side::Primary, &inventory()).await;
    house.take(Side::Secondary, &inventory()).await;
    let mut changed = inventory();
    changed.packages[0].version = "2".to_owned();
    house.take(Side::Primary, &changed).await;
    house.take(Side::Secondary, &changed).await;
    assert_eq!(house.open().await, []);
    let alerts = house.alerts().await;
    assert!(
        alerts.iter().all(|alert| alert.key != "divergence/mail"),
        "{alerts:?}"
    );
    assert_eq!(alerts.len(), 2, "each change was told");
}

#[tokio::test]
async fn what_is_missing_on_the_other_side_is_critical() {
    let mut house = house().await;
    let mut poor = inventory();
    poor.packages.remove(0);
    poor.volumes[0].size = 10;
    poor.services[0].starts_at_boot = Some(true);
    house.take(Side::Secondary, &poor).await;
    house.take(Side::Primary, &inventory()).await;
    house.take(Side::Secondary, &poor).await;
    let endangering = house.changes.endangering("mail").await.expect("read");
    let mut rules: Vec<&str> = endangering.iter().map(|one| one.rule.as_str()).collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        ["package-missing", "starts-at-boot", "volume-smaller"]
    );
    assert_eq!(house.alerts().await[0].gravity, Gravity::Critical);
    let named = endangering
        .iter()
        .find(|one| one.rule == "starts-at-boot")
        .expect("one");
    assert_eq!(named.difference.name, "dovecot (secondary)");
}

#[tokio::test]
async fn an_accepted_difference_counts_again_when_it_becomes_another_one() {
    let mut house = house().await;
    let differs = |hash: &str| Inventory {
        configuration: vec![file("/etc/postfix/main.cf", hash)],
        ..inventory()
    };
    house.take(Side::Primary, &inventory()).await;
    house.take(Side::Secondary, &differs("bb")).await;
    house.take(Side::Primary, &inventory()).await;
    let endangering = house.changes.endangering("mail").await.expect("read");
    assert_eq!(endangering.len(), 1);
    assert!(
        house
            .changes
            .accept("mail", endangering[0].id, "ann", house.now)
            .await
            .expect("kept")
    );
    assert!(
        !house
            .changes
            .accept("mail", 999, "ann", house.now)
            .await
            .expect("kept")
    );
    assert_eq!(house.changes.endangering("mail").await.expect("read"), []);
    house.take(Side::Secondary, &differs("bb")).await;
    assert_eq!(house.changes.endangering("mail").await.expect("read"), []);
    house.take(Side::Secondary, &differs("cc")).await;
    assert_eq!(
        house.changes.endangering("mail").await.expect("read").len(),
        1
    );
}

#[tokio::test]
async fn the_operators_rules_count_and_are_kept() {
    let mut house = house().await;
    let rule = Rule {
        id: "ours".to_owned(),
        scope: None,
        category: Some(Category::Configuration),
        names: vec!["/etc/postfix/*".to_owned()],
        shape: None,
        value: None,
        verdict: Verdict::Ignore,
        why: String::new(),
    };
    let id = house
        .changes
        .prefer("mail", &rule, "ann", house.now)
        .await
        .expect("kept");
    let settings = Settings {
        rules: vec![Rule {
            id: "vim".to_owned(),
            names: vec!["vim*".to_owned()],
            category: None,
            verdict: Verdict::Critical,
            why: "we need it".to_owned(),
            ..rule
        }],
    };
    house.changes.set_rules("mail", &settings);
    let mut other = inventory();
    other.configuration[0].hash = Some("bb".to_owned());
    other.packages.pop();
    house.take(Side::Primary, &inventory()).await;
    house.take(Side::Secondary, &other).await;
    assert_eq!(
        house.open().await,
        [("vim:amd64".to_owned(), Verdict::Critical, false)]
    );
    let kept = house.changes.preferences("mail").await.expect("read");
    assert_eq!((kept.len(), kept[0].who.as_str()), (1, "ann"));
    assert!(
        house
            .changes
            .prefer_no_more("mail", id)
            .await
            .expect("kept")
    );
    assert!(
        !house
            .changes
            .prefer_no_more("mail", id)
            .await
            .expect("kept")
    );
    house.take(Side::Secondary, &other).await;
    assert_eq!(house.open().await.len(), 2);
}

#[tokio::test]
async fn a_host_that_changes_without_end_is_bounded() {
    let mut house = house().await;
    for round in 0..230 {
        let mut other = inventory();
        other.kernel = round.to_string();
        house.take(Side::Primary, &other).await;
    }
    assert_eq!(house.count("SELECT count(*) FROM inventories").await, 200);
    assert_eq!(
        house.count("SELECT count(*) FROM inventory_lists").await,
        204
    );
    let known = house
        .changes
        .inventories("mail", "mail-a")
        .await
        .expect("read");
    let ids = (known[1].id, known[0].id);
    let between = house
        .changes
        .between("mail", "mail-a", ids)
        .await
        .expect("read");
    let between = between.expect("both are kept");
    assert_eq!((between.len(), between[0].name.as_str()), (1, "kernel"));
    assert_eq!(
        house
            .changes
            .inventory("mail", "mail-b", ids.0)
            .await
            .expect("read"),
        None
    );
}

#[tokio::test]
async fn a_new_system_is_one_alert_and_not_eight_thousand() {
    let mut house = house().await;
    let many = |version: &str| {
        let package = |number: u32| Package {
            name: format!("postfix-{number:05}"),
            version: version.to_owned(),
        };
        Inventory {
            packages: (0..8000).map(package).collect(),
            ..inventory()
        }
    };
    house.take(Side::Primary, &many("1")).await;
    let changes = house.take(Side::Primary, &many("2")).await;
    assert_eq!(changes.len(), MOST);
    let alerts = house.alerts().await;
    assert_eq!(alerts.len(), 1);
    assert!(
        alerts[0].text.contains("and 970 more"),
        "{}",
        alerts[0].text.len()
    );
    assert!(alerts[0].text.len() < 20_000);
}

#[tokio::test]
async fn a_hail_of_inventories_is_not_listened_to() {
    let mut house = house().await;
    house.take(Side::Primary, &inventory()).await;
    let other = Inventory {
        kernel: "7".to_owned(),
        ..inventory()
    };
    let origin = origin(Side::Primary);
    let early = house
        .changes
        .take(&origin, &other, None, None, house.now + 10);
    assert_eq!(early.await.expect("taken"), []);
    assert_eq!(house.count("SELECT count(*) FROM inventories").await, 1);
    assert_eq!(house.take(Side::Primary, &other).await.len(), 1);
}
