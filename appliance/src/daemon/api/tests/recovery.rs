use axum::http::{Method, StatusCode, header};
use lifeboat_bootorder::Order;
use serde_json::{Value, json};

use crate::daemon::api::Reach;
use crate::daemon::testing::{Bed, request};
use crate::report::{Mode, Report};
use crate::session::making::write_plan;
use crate::session::{SessionPlan, unix_ms};
use crate::store::SessionState;

const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[31m\u{202e}\"'&";

/// A decided session: `data1`, `web1` that cannot do without it, and `log1` that can.
fn plan(bed: &Bed) -> SessionPlan {
    let folder = bed.appliance.host.session_dir("s1");
    let machine = |name: &str, needs: Value| {
        json!({
            "machine": {
                "name": name, "firmware": "bios", "memory_mib": 64, "vcpus": 1,
                "volumes": [], "nics": [], "gates": [],
            },
            "domain": format!("lifeboat-s1-{name}"), "sockets": [], "disks": [], "needs": needs,
            "gates": [
                {"gate": {"kind": {"tcp": 80}}, "learned": true, "address": "10.0.0.1", "timeout_s": 60},
                {"gate": {"kind": "icmp"}, "learned": false, "address": "10.0.0.1", "timeout_s": 60},
            ],
            "expected_s": 10.0, "inject_s": 1.0, "console": folder.join(format!("{name}.log")),
        })
    };
    let plan = json!({
        "id": "s1", "began_ms": unix_ms(), "mode": "test", "site": "small",
        "verdict": {"accelerator": "tcg", "reason": "a test"},
        "machines": [
            machine("data1", json!([])),
            machine("web1", json!([[0, true]])),
            machine("log1", json!([[0, false]])),
        ],
        "order": [{
            "machine": "web1", "after": ["data1"],
            "evidence": ["after data1 (hard, 0.90, logs): line 7", "after data10 (hard, 0.90, logs): line 8"],
            "reasons": ["after data1: it connects to its database there"],
        }],
        "memory_mib": 1, "folder": folder, "display": true,
        "switch": {"session": "s1", "control_socket": folder.join("c.sock"), "networks": [], "ports": []},
        "run_dir": folder.join("run"), "warnings": [],
    });
    serde_json::from_value(plan).unwrap()
}

async fn with_session() -> Bed {
    let bed = Bed::with_site().await;
    let store = &bed.appliance.store;
    store
        .create_session("s1", "small", Mode::Test)
        .await
        .unwrap();
    write_plan(&plan(&bed)).unwrap();
    bed
}

async fn log(bed: &Bed, steps: &[(&str, &str, &str)]) {
    for (step, machine, detail) in steps {
        bed.appliance
            .store
            .log_step("s1", step, machine, detail)
            .await
            .unwrap();
    }
}

async fn live(bed: &Bed) -> Value {
    bed.get("/sessions/s1/live")
        .await
        .expect(StatusCode::OK)
        .json()
}

#[tokio::test]
async fn a_session_shows_who_waits_for_whom_and_why() {
    let bed = with_session().await;
    log(
        &bed,
        &[
            ("start switch", "", ""),
            ("starting", "data1", ""),
            ("booting", "data1", ""),
            ("gate open", "data1", "tcp 80"),
        ],
    )
    .await;
    let shown = live(&bed).await;
    let (data1, web1) = (&shown["machines"][0], &shown["machines"][1]);
    assert_eq!(
        (&data1["state"], &data1["gates"][0]["state"]),
        (&json!("booting"), &json!("open"))
    );
    assert_eq!(data1["gates"][1]["state"], "waiting");
    assert_eq!(
        (&data1["has_vnc"], &web1["has_vnc"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(web1["state"], "waiting");
    let waits = &web1["waits_for"][0];
    assert_eq!(
        (&waits["machine"], &waits["hard"], &waits["state"]),
        (&json!("data1"), &json!(true), &json!("booting"))
    );
    // What is said of `data10` is not said of `data1`.
    assert_eq!(waits["why"].as_array().unwrap().len(), 2, "{waits}");
    assert_eq!(
        (&shown["isolation"], &shown["expected_rta_s"]),
        (&json!("unknown"), &json!(20.0))
    );
    log(
        &bed,
        &[
            ("failed", "data1", HOSTILE),
            ("blocked", "web1", "it needs data1"),
        ],
    )
    .await;
    let shown = live(&bed).await;
    assert_eq!(shown["machines"][0]["reason"], HOSTILE);
    assert_eq!(shown["machines"][1]["state"], "blocked");
    // It can do without, so that only room is missing.
    let log1 = &shown["machines"][2];
    assert_eq!(
        (&log1["waits_for"], &log1["waits_for_room"]),
        (&json!([]), &json!(true))
    );
    let store = &bed.appliance.store;
    store
        .set_session_state("s1", SessionState::Ended, "stopped")
        .await
        .unwrap();
    let shown = live(&bed).await;
    assert_eq!(shown["machines"][2]["state"], "not_started");
    assert_eq!(shown["machines"][0]["has_vnc"], false);
}

#[tokio::test]
async fn a_recovery_that_is_taken_up_again_begins_anew() {
    let bed = with_session().await;
    log(
        &bed,
        &[
            ("start switch", "", ""),
            ("starting", "data1", ""),
            ("ready", "data1", ""),
        ],
    )
    .await;
    assert_eq!(live(&bed).await["machines"][0]["state"], "ready");
    log(&bed, &[("start switch", "", "")]).await;
    assert_eq!(live(&bed).await["machines"][0]["state"], "waiting");
}

fn report(bed: &Bed, screenshot: bool) -> Report {
    let folder = bed.appliance.host.session_dir("s1");
    let report = json!({
        "site": "small", "session": "s1", "mode": "test", "accelerator": "tcg",
        "accelerator_reason": HOSTILE, "isolation_note": HOSTILE, "ok": false, "problems": [HOSTILE],
        "rta_s": 30.5, "critical_path_s": 20.0, "rta_over_critical_path": 1.525,
        "limiting_machines": ["data1"],
        "plan": [{"machine": "data1", "after": [HOSTILE], "evidence": [HOSTILE]}],
        "machines": [
            {"name": "data1", "ok": true, "outcome": "ready", "reason": null, "prepared": true, "inject_s": 1.0,
             "started_s": 1.0, "ready_s": 30.5, "screenshot": screenshot.then_some("../../../etc/passwd"),
             "console": "data1.log", "console_tail": [HOSTILE], "gates": [
                {"kind": HOSTILE, "port": 80, "learned": true, "ready_s": 20.0, "detail": HOSTILE}]},
            {"name": "web1", "ok": false, "outcome": "failed", "reason": HOSTILE, "prepared": true, "inject_s": 1.0,
             "started_s": 31.0, "ready_s": null, "screenshot": null, "console": null,
             "console_tail": [], "gates": []},
        ],
        "network": {"frames": 1, "dropped": 0, "uplink_frames": 0,
            "unanswered": [{"from": HOSTILE, "to": HOSTILE, "protocol": HOSTILE, "port": 389, "count": 4}],
            "isolation": {"host_interfaces": 0, "canaries_sent": 9, "canaries_escaped": 0, "control_seen": true}},
        "sources_unchanged": true, "warnings": [HOSTILE], "folder": folder,
    });
    serde_json::from_value(report).unwrap()
}

/// One red point.
fn png() -> Vec<u8> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[200, 0, 0]).unwrap();
    writer.finish().unwrap();
    png
}

async fn with_report() -> Bed {
    let bed = with_session().await;
    let folder = bed.appliance.host.session_dir("s1");
    std::fs::write(folder.join("data1.png"), png()).unwrap();
    std::fs::write(folder.join("data1.log"), "one\n\u{1b}[2Jtwo\nthree\n").unwrap();
    let store = &bed.appliance.store;
    store.put_report("s1", &report(&bed, true)).await.unwrap();
    store
        .set_session_state("s1", SessionState::Ended, "ok")
        .await
        .unwrap();
    bed
}

#[tokio::test]
async fn the_report_is_one_page_on_which_hostile_words_are_only_words() {
    let bed = with_report().await;
    let page = bed
        .get("/sessions/s1/report.html")
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        page.headers[header::CONTENT_TYPE],
        "text/html; charset=utf-8"
    );
    let policy = page.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let text = page.text();
    assert!(
        !text.contains("<script") && !text.contains('\u{1b}'),
        "{text}"
    );
    assert!(text.matches("&lt;script&gt;").count() >= 9, "{text}");
    assert!(text.contains("data:image/png;base64,"), "{text}");
    assert!(!text.contains("root:"), "{text}");
    assert_eq!(text.matches("<rect ").count(), 2, "{text}");
    // The only addresses are those of its own pictures.
    assert!(!text.contains("://"), "{text}");
}

#[tokio::test]
async fn screens_and_consoles_of_a_session_that_is_over_are_those_of_its_report() {
    let bed = with_report().await;
    let screen = "/sessions/s1/machines/data1/screen";
    let picture = bed
        .get(&format!("{screen}?width=320"))
        .await
        .expect(StatusCode::OK);
    assert_eq!(picture.headers[header::CONTENT_TYPE], "image/png");
    assert_eq!(picture.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let tag = picture.headers[header::ETAG].clone();
    let mut again = request(Method::GET, screen, Value::Null);
    again.headers_mut().insert(header::IF_NONE_MATCH, tag);
    bed.send(Reach::Network, again)
        .await
        .expect(StatusCode::NOT_MODIFIED);
    let console = bed.get("/sessions/s1/machines/data1/console?lines=2").await;
    assert_eq!(
        console.expect(StatusCode::OK).json(),
        json!({ "lines": ["two", "three"], "more": true })
    );
    for path in [
        "/sessions/s1/machines/web1/screen",
        "/sessions/s1/machines/web1/console",
        "/sessions/s1/machines/nobody/screen",
        "/sessions/s1/machines/..%2f..%2fsite/console",
        "/sessions/s2/machines/data1/screen",
        "/sessions/..%2fs1/machines/data1/screen",
    ] {
        bed.get(path).await.expect(StatusCode::NOT_FOUND);
    }
    let shown = live(&bed).await;
    assert_eq!(
        (&shown["isolation"], &shown["report_ready"]),
        (&json!("proved"), &json!(true))
    );
    assert_eq!(shown["machines"][0]["has_screen"], true);
    assert_eq!(shown["network"]["unanswered"][0]["port"], 389);
}

#[tokio::test]
async fn a_site_has_a_history_and_a_network() {
    let bed = with_report().await;
    let history = bed
        .get("/sites/small/history")
        .await
        .expect(StatusCode::OK)
        .json();
    let run = &history["runs"][0];
    assert_eq!(
        (&run["session"], &run["rta_s"], &run["problems"]),
        (&json!("s1"), &json!(30.5), &json!(1))
    );
    assert!(run["began_ms"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(history["trend"], Value::Null);
    let network = bed
        .get("/sites/small/network")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(
        (&network["networks"][0]["name"], &network["session"]),
        (&json!("lan"), &json!("s1"))
    );
    assert_eq!(
        network["links"][1],
        json!({
            "machine": "two", "network": "lan", "mac": "52:54:00:20:00:20", "address": "10.20.0.20",
        })
    );
    assert_eq!(network["outside"][0]["from"], HOSTILE);
    let overview = bed.get("/overview").await.expect(StatusCode::OK).json();
    assert_eq!(
        (&overview[0]["machines"], &overview[0]["last"]["session"]),
        (&json!(2), &json!("s1"))
    );
    std::fs::remove_file(bed.folder.path().join("site.toml")).unwrap();
    let overview = bed.get("/overview").await.expect(StatusCode::OK).json();
    assert!(
        overview[0]["problem"]
            .as_str()
            .unwrap()
            .contains("site.toml"),
        "{overview}"
    );
}

fn order() -> Order {
    let edge = |before: &str, after: &str, source: &str| {
        json!({"before": before, "after": after, "kind": "hard", "confidence": 0.9, "source": source,
            "evidence": [{"machine": after, "file": "etc/app.env", "record": "1", "time": null, "text": HOSTILE}]})
    };
    let order = json!({
        "machines": ["one", "three", "two"],
        "plan": [
            {"machine": "one", "after": [], "evidence": []},
            {"machine": "two", "after": ["one"], "evidence": []},
            {"machine": "three", "after": ["one", "two"], "evidence": []},
        ],
        "edges": [edge("one", "two", "operator"), edge("two", "three", "logs"), edge("one", "three", "logs")],
        "services": {"edges": []}, "gates": {}, "ready_delays_s": {},
        "given_up": [edge("three", "one", "table")], "hints": [],
        "operator": [
            {"before": "one", "after": "two", "verdict": "pin"},
            {"before": "three", "after": "two", "verdict": "reject"},
        ],
        "prediction": {"rta_s": 40.0, "low_s": 30.0, "high_s": 50.0, "critical_path": ["one", "two", "three"],
            "boots_used": 3, "assumed": [], "never_started": []},
        "warnings": [],
    });
    serde_json::from_value(order).unwrap()
}

#[tokio::test]
async fn an_order_is_drawn_until_what_it_rests_on_changes() {
    let bed = Bed::with_site().await;
    for path in [
        "/sites/small/order",
        "/sites/small/order/graph",
        "/sites/small/prediction",
    ] {
        bed.get(path).await.expect(StatusCode::NOT_FOUND);
    }
    let site = bed.appliance.site("small").await.unwrap();
    bed.appliance
        .keep_order(&site, &[], &order())
        .await
        .unwrap();
    let graph = bed
        .get("/sites/small/order/graph")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(graph["stale"], false);
    let waves: Vec<_> = graph["machines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["wave"].as_u64())
        .collect();
    assert_eq!(waves, [Some(0), Some(1), Some(2)]);
    let edges: Vec<_> = graph["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            (
                edge["status"].as_str().unwrap(),
                edge["implied"] == true,
                edge["critical"] == true,
                edge["word"].clone(),
            )
        })
        .collect();
    assert_eq!(
        edges,
        [
            ("followed", false, true, json!("pin")),
            ("followed", false, true, Value::Null),
            ("followed", true, false, Value::Null),
            ("given_up", false, false, Value::Null),
            ("rejected", false, false, json!("reject")),
        ]
    );
    assert_eq!(graph["edges"][0]["evidence"][0]["text"], HOSTILE);
    let words = json!({ "reject": ["two:one"] });
    bed.ask(Method::POST, "/sites/small/operator", words)
        .await
        .expect(StatusCode::OK);
    let kept = bed
        .get("/sites/small/order")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(
        (&kept["stale"], &kept["order"]["machines"][0]),
        (&json!(true), &json!("one"))
    );
    let removed = bed.ask(Method::DELETE, "/sites/small", Value::Null).await;
    removed.expect(StatusCode::OK);
    assert!(bed.appliance.store.order("small").await.unwrap().is_none());
}

#[tokio::test]
async fn tests_are_scheduled_changed_and_forgotten() {
    let bed = Bed::with_site().await;
    let settings = json!({"rhythm": {"every": "week", "weekday": "sunday"}, "at": "02:30", "zone": "Europe/Berlin", "enabled": true});
    let made = bed
        .ask(Method::POST, "/sites/small/schedules", settings.clone())
        .await;
    let made = made.expect(StatusCode::OK).json();
    let path = format!("/schedules/{}", made["id"]);
    assert!(made["next_ms"].as_u64().unwrap() > unix_ms());
    let mut off = settings.clone();
    off["enabled"] = json!(false);
    let changed = bed
        .ask(Method::PUT, &path, off)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(changed["next_ms"], Value::Null);
    let runs = bed
        .get(&format!("{path}/runs?limit=3"))
        .await
        .expect(StatusCode::OK);
    assert_eq!(runs.json(), json!([]));
    let mut wrong = settings.clone();
    wrong["at"] = json!(HOSTILE);
    let refused = bed.ask(Method::POST, "/sites/small/schedules", wrong).await;
    refused.expect(StatusCode::BAD_REQUEST);
    let nobody = bed
        .ask(Method::POST, "/sites/nobody/schedules", settings.clone())
        .await;
    nobody.expect(StatusCode::NOT_FOUND);
    assert_eq!(
        bed.get("/sites/small/schedules")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    bed.ask(Method::DELETE, &path, Value::Null)
        .await
        .expect(StatusCode::OK);
    for method in [Method::DELETE, Method::PUT] {
        let gone = bed.ask(method, &path, settings.clone()).await;
        gone.expect(StatusCode::NOT_FOUND);
    }
}
