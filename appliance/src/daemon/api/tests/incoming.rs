use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::daemon::api::Reach;
use crate::daemon::testing::{Bed, request};
use crate::imports::ImportFolder;

/// With an import folder that holds one volume.
async fn with_import() -> Bed {
    let mut bed = Bed::new().await;
    let path = bed.folder.path().join("nas");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("one.raw"), "").unwrap();
    bed.file("outside.raw", "");
    let mut host = (*bed.appliance.host).clone();
    host.limits.reserve = 0;
    host.imports = vec![ImportFolder {
        name: "nas".into(),
        path,
    }];
    bed.appliance.host = std::sync::Arc::new(host);
    bed
}

fn site(volume: &str) -> Value {
    let text = format!(
        "[site]\nname = \"small\"\n[[network]]\nname = \"lan\"\ncidr = \"10.20.0.0/24\"\n[[machine]]\nname = \"one\"\nvolumes = [\"{volume}\"]\n\
         [[machine.nic]]\nnetwork = \"lan\"\nmac = \"52:54:00:20:00:10\"\n"
    );
    json!({ "text": text })
}

#[tokio::test]
async fn a_site_that_is_described_over_the_network_uses_what_it_may() {
    let bed = with_import().await;
    let nas = bed.folder.path().join("nas").to_string_lossy().into_owned();
    let send = async |volume: &str| {
        let asked = request(Method::POST, "/sites/text", site(volume));
        bed.send(Reach::Network, asked).await
    };
    for volume in [
        "/etc/passwd".to_owned(),
        "../../../outside.raw".to_owned(),
        format!("{nas}/../outside.raw"),
    ] {
        let refused = send(&volume).await.expect(StatusCode::BAD_REQUEST).json();
        assert!(
            refused["chain"][0].as_str().unwrap().contains("volume"),
            "{refused}"
        );
    }
    assert_eq!(bed.get("/sites").await.json(), json!([]));
    for _ in 0..2 {
        let made = send(&format!("{nas}/one.raw")).await.expect(StatusCode::OK);
        assert_eq!(made.json()["name"], "small");
    }
    assert_eq!(bed.get("/sites").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_site_with_a_file_of_its_own_is_not_described_anew() {
    let bed = Bed::with_site().await;
    let refused = bed.ask(Method::POST, "/sites/text", site("/x")).await;
    refused.expect(StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_volume_is_sent_in_pieces_and_stays_while_a_site_uses_it() {
    let bed = with_import().await;
    let asked = json!({ "name": "disk.raw", "size": 3 });
    let upload = bed
        .ask(Method::POST, "/uploads", asked)
        .await
        .expect(StatusCode::OK)
        .json();
    let path = format!("/uploads/{}", upload["id"].as_str().unwrap());
    let piece = async |offset: u64, bytes: Vec<u8>| {
        let mut asked = request(Method::PUT, &format!("{path}?offset={offset}"), Value::Null);
        *asked.body_mut() = Body::from(bytes);
        bed.send(Reach::Network, asked).await
    };
    piece(1, vec![1]).await.expect(StatusCode::CONFLICT);
    piece(0, vec![0; 4]).await.expect(StatusCode::BAD_REQUEST);
    piece(0, vec![0; (8 << 20) + 1])
        .await
        .expect(StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        piece(0, vec![1, 2]).await.expect(StatusCode::OK).json()["received"],
        2
    );
    assert_eq!(
        piece(2, vec![3]).await.expect(StatusCode::OK).json()["complete"],
        true
    );
    let id = upload["id"].as_str().unwrap();
    let file = bed
        .appliance
        .host
        .state_dir
        .join("uploads")
        .join(id)
        .join("disk.raw");
    let made = bed
        .ask(Method::POST, "/sites/text", site(&file.to_string_lossy()))
        .await;
    made.expect(StatusCode::OK);
    bed.ask(Method::DELETE, &path, Value::Null)
        .await
        .expect(StatusCode::CONFLICT);
    bed.ask(Method::DELETE, "/sites/small", Value::Null)
        .await
        .expect(StatusCode::OK);
    bed.ask(Method::DELETE, &path, Value::Null)
        .await
        .expect(StatusCode::OK);
    assert_eq!(bed.get("/uploads").await.json(), json!([]));
}

#[tokio::test]
async fn drafts_are_made_of_what_may_be_read_alone() {
    let bed = with_import().await;
    let listed = bed
        .get("/imports/nas/files?path=")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(listed[0]["path"], "one.raw");
    bed.get("/imports/nas/files?path=..")
        .await
        .expect(StatusCode::BAD_REQUEST);
    bed.get("/imports/nobody/files")
        .await
        .expect(StatusCode::NOT_FOUND);
    let draft = |volume: Value| json!({ "name": "site", "machines": [[volume]] });
    for (volume, expected) in [
        (
            json!({"from": "import", "import": "nas", "path": "../outside.raw"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"from": "import", "import": "nas", "path": "nothing"}),
            StatusCode::NOT_FOUND,
        ),
        (
            json!({"from": "import", "import": "nobody", "path": "one.raw"}),
            StatusCode::NOT_FOUND,
        ),
        (
            json!({"from": "upload", "upload": "../../etc"}),
            StatusCode::NOT_FOUND,
        ),
    ] {
        bed.ask(Method::POST, "/drafts", draft(volume))
            .await
            .expect(expected);
    }
    let empty = json!({ "name": "site", "machines": [] });
    bed.ask(Method::POST, "/drafts", empty)
        .await
        .expect(StatusCode::BAD_REQUEST);
}
