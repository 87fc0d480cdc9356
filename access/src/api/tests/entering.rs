use axum::http::StatusCode;
use serde_json::json;
use totp_rs::{Builder, Secret};

use super::{Asker, Bed, MINUTE, OTHER, PASSWORD};

#[tokio::test]
async fn the_first_user_is_made_once_by_the_newest_link() {
    let bed = Bed::new().await;
    let nobody = Asker::default();
    let start = bed.get(&nobody, "/api/v1/access/start").await;
    assert_eq!(start.body, json!({ "first_user": true }));
    let older = bed.access.first_user_link().await.unwrap();
    let link = bed.access.first_user_link().await.unwrap();
    let (url, secret) = link.split_once('#').unwrap();
    assert_eq!(url, "https://boat.example:8443/first-user");
    let ask = |secret: &str, password: &str| json!({ "secret": secret, "name": "ann", "password": password });
    let path = "/api/v1/access/first-user";
    let (_, older) = older.split_once('#').unwrap();
    bed.post(&nobody, path, ask(older, PASSWORD))
        .await
        .expect(401, "wrong");
    bed.post(&nobody, path, ask("", PASSWORD))
        .await
        .expect(401, "wrong");
    bed.post(&nobody, path, ask(secret, "short"))
        .await
        .expect(400, "invalid");
    let made = bed.post(&nobody, path, ask(secret, PASSWORD)).await;
    made.expect(200, "");
    assert_eq!(made.body["me"]["role"], "administrator");
    let cookie = made.headers["set-cookie"].to_str().unwrap();
    for word in [
        "__Host-lifeboat=",
        "Path=/",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
    ] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let me = bed.get(&made.browser(), "/api/v1/access/me").await;
    assert_eq!(me.body["name"], "ann");
    bed.post(&nobody, path, ask(secret, PASSWORD))
        .await
        .expect(401, "wrong");
    assert!(bed.access.first_user_link().await.is_err());
    let start = bed.get(&nobody, "/api/v1/access/start").await;
    assert_eq!(start.body, json!({ "first_user": false }));
}

#[tokio::test]
async fn an_old_link_is_worth_nothing() {
    let bed = Bed::new().await;
    let link = bed.access.first_user_link().await.unwrap();
    let body =
        json!({ "secret": link.split_once('#').unwrap().1, "name": "ann", "password": PASSWORD });
    bed.wait(24 * 60 * MINUTE);
    let path = "/api/v1/access/first-user";
    bed.post(&Asker::default(), path, body)
        .await
        .expect(401, "wrong");
}

#[tokio::test]
async fn five_failures_lock_one_name_at_one_address_for_a_while() {
    let bed = Bed::with_users().await;
    let (here, there) = (Asker::default(), Asker::default().at("10.0.0.2:9"));
    for _ in 0..4 {
        bed.log_in(&here, "operator", OTHER)
            .await
            .expect(401, "wrong");
    }
    let last = bed.log_in(&here, "operator", OTHER).await;
    last.expect(429, "locked");
    assert_eq!(last.headers["retry-after"], "901");
    bed.log_in(&here, "operator", PASSWORD)
        .await
        .expect(429, "locked");
    // Neither the user elsewhere nor others here are shut out.
    bed.log_in(&there, "operator", PASSWORD)
        .await
        .expect(200, "");
    bed.log_in(&here, "viewer", PASSWORD).await.expect(200, "");
    bed.log_in(&here, "operator", PASSWORD)
        .await
        .expect(429, "locked");
    bed.wait(15 * MINUTE);
    bed.log_in(&here, "operator", PASSWORD)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn success_forgets_failures_and_they_age() {
    let bed = Bed::with_users().await;
    let here = Asker::default();
    for round in 0..3 {
        for _ in 0..4 {
            bed.log_in(&here, "viewer", OTHER)
                .await
                .expect(401, "wrong");
        }
        match round {
            0 => {
                bed.log_in(&here, "viewer", PASSWORD)
                    .await
                    .expect(200, "")
                    .status
            }
            _ => {
                bed.wait(15 * MINUTE);
                StatusCode::OK
            }
        };
    }
}

#[tokio::test]
async fn nobody_far_away_locks_an_administrator_out() {
    let bed = Bed::with_users().await;
    let home = Asker::default();
    bed.log_in(&home, "administrator", PASSWORD)
        .await
        .expect(200, "");
    // An army of addresses, which locks the name for everybody who is not known.
    let addresses: Vec<String> = (0..30).map(|n| format!("192.0.2.{n}:1")).collect();
    for address in addresses {
        let enemy = Asker::default().at(address.leak());
        for _ in 0..4 {
            bed.log_in(&enemy, "administrator", OTHER).await;
        }
    }
    let fresh = Asker::default().at("198.51.100.1:1");
    bed.log_in(&fresh, "administrator", PASSWORD)
        .await
        .expect(429, "locked");
    bed.log_in(&home, "administrator", PASSWORD)
        .await
        .expect(200, "");
    // And the machine's root ends every lock.
    let path = "/api/v1/access/users/administrator/unlock";
    bed.as_root(axum::http::Method::POST, path, json!(null))
        .await
        .expect(200, "");
    bed.log_in(&fresh, "administrator", PASSWORD)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn many_names_from_one_address_lock_the_address() {
    let bed = Bed::with_users().await;
    let enemy = Asker::default();
    for number in 0..20 {
        bed.log_in(&enemy, &format!("name{number}"), OTHER)
            .await
            .expect(401, "wrong");
    }
    bed.log_in(&enemy, "viewer", PASSWORD)
        .await
        .expect(429, "locked");
    // One network of IPv6 is one address.
    let six = [
        "[2001:db8::1]:1",
        "[2001:db8::2]:1",
        "[2001:db8::3:4]:1",
        "[2001:db8::5]:1",
    ];
    for address in six {
        bed.log_in(&enemy.at(address), "operator", OTHER)
            .await
            .expect(401, "wrong");
    }
    bed.log_in(&enemy.at("[2001:db8::9]:1"), "operator", OTHER)
        .await
        .expect(429, "locked");
}

#[tokio::test]
async fn attempts_at_once_are_counted_one_by_one() {
    let bed = std::sync::Arc::new(Bed::with_users().await);
    let tries = (0..24).map(|_| {
        let bed = bed.clone();
        tokio::spawn(async move { bed.log_in(&Asker::default(), "viewer", OTHER).await.status })
    });
    let mut wrong = 0;
    for one in tries.collect::<Vec<_>>() {
        wrong += usize::from(one.await.unwrap() == StatusCode::UNAUTHORIZED);
    }
    assert!(wrong <= 4, "{wrong} guesses were answered");
}

#[tokio::test]
async fn unknown_users_are_refused_as_known_ones() {
    let bed = Bed::with_users().await;
    let known = bed.log_in(&Asker::default(), "viewer", OTHER).await;
    let strange = [
        "nobody",
        "",
        "VIEWER",
        "../../etc",
        "a\u{0}b",
        &"x".repeat(1000),
    ];
    let addresses = [
        "10.1.0.1:1",
        "10.1.0.2:1",
        "10.1.0.3:1",
        "10.1.0.4:1",
        "10.1.0.5:1",
        "10.1.0.6:1",
    ];
    for (name, address) in strange.into_iter().zip(addresses) {
        let answer = bed.log_in(&Asker::default().at(address), name, OTHER).await;
        assert_eq!(
            (answer.status, &answer.body),
            (known.status, &known.body),
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_log_in_makes_a_session_of_its_own() {
    let bed = Bed::with_users().await;
    // A cookie that somebody slipped in is never taken over.
    let planted = Asker {
        cookie: Some("__Host-lifeboat=planted".to_owned()),
        ..Asker::default()
    };
    let first = bed.log_in(&planted, "viewer", PASSWORD).await;
    assert!(!first.cookie().contains("planted"));
    bed.get(&planted, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    // Whoever logs in anew leaves nothing behind.
    let second = bed.log_in(&first.browser(), "viewer", PASSWORD).await;
    assert_ne!(first.cookie(), second.cookie());
    bed.get(&first.browser(), "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    bed.get(&second.browser(), "/api/v1/access/me")
        .await
        .expect(200, "");
    bed.post(&second.browser(), "/api/v1/access/logout", json!(null))
        .await
        .expect(200, "");
    bed.get(&second.browser(), "/api/v1/access/me")
        .await
        .expect(401, "log_in");
}

#[tokio::test]
async fn sessions_end_when_idle_and_when_old() {
    let bed = Bed::with_users().await;
    let browser = bed.browser("viewer").await;
    for _ in 0..3 {
        bed.wait(29 * MINUTE);
        bed.get(&browser, "/api/v1/access/me").await.expect(200, "");
    }
    // What the page asks for by itself does not count as use.
    bed.wait(20 * MINUTE);
    let page = browser.with("lifeboat-background", "1");
    bed.get(&page, "/api/v1/access/me").await.expect(200, "");
    bed.wait(10 * MINUTE);
    bed.get(&browser, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    let busy = bed.browser("viewer").await;
    for _ in 0..(12 * 60 / 20 - 1) {
        bed.wait(20 * MINUTE);
        bed.get(&busy, "/api/v1/access/me").await.expect(200, "");
    }
    bed.wait(20 * MINUTE);
    bed.get(&busy, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
}

fn code(secret: &str, bed: &Bed) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    let now = u64::try_from(bed.access.now() / 1000).unwrap();
    totp.generate(now).to_string()
}

/// Sets a second factor up and gives its secret.
async fn second_factor(bed: &Bed, name: &str) -> String {
    let browser = bed.confirmed(name).await;
    let offer = bed
        .post(&browser, "/api/v1/access/me/totp", json!(null))
        .await;
    offer.expect(200, "");
    assert!(
        offer.body["uri"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/"),
        "{offer:?}"
    );
    assert!(
        offer.body["qr"].as_str().unwrap().contains("<svg"),
        "{offer:?}"
    );
    let secret = offer.body["secret"].as_str().unwrap().to_owned();
    let activate = "/api/v1/access/me/totp/activate";
    bed.post(&browser, activate, json!({ "code": "000000" }))
        .await
        .expect(401, "wrong");
    let right = json!({ "code": code(&secret, bed) });
    let me = bed.post(&browser, activate, right).await;
    me.expect(200, "");
    assert_eq!(me.body["totp"], true);
    secret
}

#[tokio::test]
async fn with_a_second_factor_the_password_alone_opens_nothing() {
    let bed = Bed::with_users().await;
    let secret = second_factor(&bed, "operator").await;
    let first = bed.log_in(&Asker::default(), "operator", PASSWORD).await;
    first.expect(200, "");
    assert_eq!(first.body, json!({ "state": "code" }));
    let half = first.browser();
    bed.get(&half, "/api/v1/access/me")
        .await
        .expect(401, "code");
    // The code that set it up is used up.
    let totp = "/api/v1/access/totp";
    let used = json!({ "code": code(&secret, &bed) });
    bed.post(&half, totp, used).await.expect(401, "wrong");
    bed.wait(MINUTE);
    let fresh = json!({ "code": code(&secret, &bed) });
    let second = bed.post(&half, totp, fresh.clone()).await;
    second.expect(200, "");
    assert_ne!(first.cookie(), second.cookie());
    bed.get(&second.browser(), "/api/v1/access/me")
        .await
        .expect(200, "");
    bed.post(&half, totp, fresh.clone())
        .await
        .expect(401, "log_in");
    // Nor does it open another session.
    let again = bed
        .log_in(&Asker::default(), "operator", PASSWORD)
        .await
        .browser();
    bed.post(&again, totp, fresh).await.expect(401, "wrong");
    bed.wait(5 * MINUTE);
    let late = json!({ "code": code(&secret, &bed) });
    bed.post(&again, totp, late).await.expect(401, "log_in");
}

#[tokio::test]
async fn codes_cannot_be_tried_one_after_the_other() {
    let bed = Bed::with_users().await;
    second_factor(&bed, "operator").await;
    bed.wait(MINUTE);
    let mut refused = 0;
    // The right password in between does not begin the count anew.
    for _ in 0..6 {
        let first = bed.log_in(&Asker::default(), "operator", PASSWORD).await;
        if first.status != StatusCode::OK {
            first.expect(429, "locked");
            break;
        }
        let half = first.browser();
        for wrong in ["000001", "000002"] {
            let body = json!({ "code": wrong });
            refused += 1;
            bed.post(&half, "/api/v1/access/totp", body).await;
        }
    }
    assert!(refused <= 6, "{refused} codes were tried");
    bed.log_in(&Asker::default(), "operator", PASSWORD)
        .await
        .expect(429, "locked");
}

#[tokio::test]
async fn a_user_who_is_disabled_or_changed_is_out_at_once() {
    let bed = Bed::with_users().await;
    let root = |path: &'static str, body| bed.as_root(axum::http::Method::POST, path, body);
    let browser = bed.browser("viewer").await;
    root("/api/v1/access/users/viewer", json!({ "disabled": true }))
        .await
        .expect(200, "");
    bed.get(&browser, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    bed.log_in(&Asker::default(), "viewer", PASSWORD)
        .await
        .expect(401, "wrong");
    let browser = bed.browser("operator").await;
    root(
        "/api/v1/access/users/operator",
        json!({ "password": OTHER }),
    )
    .await
    .expect(200, "");
    bed.get(&browser, "/api/v1/access/me")
        .await
        .expect(401, "log_in");
    bed.log_in(&Asker::default(), "operator", OTHER)
        .await
        .expect(200, "");
}
