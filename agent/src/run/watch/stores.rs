//! Stores: mounted, writable, space, inodes.

use std::path::Path;
use std::sync::Arc;

use super::{Seen, metric, unknown};
use crate::profile::{Filled, Store};
use crate::run::actions::mount_at;
use crate::run::config::Loaded;
use crate::wire::Metric;

pub(super) async fn look(loaded: Arc<Loaded>, values: Filled, serves: bool) -> Vec<Metric> {
    let work = move || {
        let stores = loaded.profile.store.iter();
        stores
            .flat_map(|store| one(store, &values, serves))
            .collect()
    };
    // A store that hangs holds up this thread, and nothing else.
    let looked = tokio::task::spawn_blocking(work).await;
    looked.unwrap_or_else(|error| vec![unknown("stores", error.to_string())])
}

fn flag(name: String, value: bool, good: bool) -> Metric {
    metric(
        name,
        Ok(Seen::new(f64::from(u8::from(value)), "bool")),
        |_| good,
    )
}

fn one(store: &Store, values: &Filled, serves: bool) -> Vec<Metric> {
    let name = |what: &str| format!("store.{}.{what}", store.name);
    let point = match values.text(&store.mount_point) {
        Ok(point) => point,
        Err(error) => return vec![unknown(name("mounted"), error.to_string())],
    };
    let mut metrics = Vec::new();
    if store.device.is_some() {
        match mount_at(Path::new(&point)) {
            Ok(Some(mount)) => {
                metrics.push(flag(name("mounted"), true, true));
                metrics.push(flag(
                    name("read-only"),
                    mount.read_only,
                    !mount.read_only || !serves,
                ));
            }
            // On the side that does not serve a store may well be unmounted.
            Ok(None) => return vec![flag(name("mounted"), false, !serves)],
            Err(error) => return vec![unknown(name("mounted"), error.to_string())],
        }
    }
    metrics.extend(space(&point, name));
    metrics
}

#[expect(
    clippy::cast_precision_loss,
    reason = "space need not be exact to the byte"
)]
fn space(point: &str, name: impl Fn(&str) -> String) -> Vec<Metric> {
    let stat = match rustix::fs::statvfs(point) {
        Ok(stat) => stat,
        Err(error) => return vec![unknown(name("space"), error.to_string())],
    };
    let bytes = |blocks: u64| Seen::new(blocks as f64 * stat.f_frsize as f64, "bytes");
    let count = |number: u64| Seen::new(number as f64, "count");
    vec![
        metric(name("size"), Ok(bytes(stat.f_blocks)), |_| true),
        metric(name("free"), Ok(bytes(stat.f_bavail)), |free| free > 0.0),
        metric(name("inodes"), Ok(count(stat.f_files)), |_| true),
        // Some filesystems make them as they need them, and count none.
        metric(name("inodes-free"), Ok(count(stat.f_favail)), |free| {
            free > 0.0 || stat.f_files == 0
        }),
    ]
}
