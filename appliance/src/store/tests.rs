use super::*;
use crate::report::Mode;

#[tokio::test]
async fn resources_come_back_newest_first_until_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    store
        .create_session("s1", "site", Mode::Test)
        .await
        .unwrap();
    let domain = Resource::Domain {
        name: "lifeboat-s1-a".into(),
    };
    let overlay = Resource::Overlay {
        path: "a.qcow2".into(),
        made: false,
    };
    let first = store.plan_resource("s1", &overlay).await.unwrap();
    store.plan_resource("s1", &domain).await.unwrap();
    let left: Vec<_> = store
        .resources("s1")
        .await
        .unwrap()
        .into_iter()
        .map(|(_, r)| r)
        .collect();
    assert_eq!(left, [domain.clone(), overlay]);
    store.resource_removed(first).await.unwrap();
    let left: Vec<_> = store
        .resources("s1")
        .await
        .unwrap()
        .into_iter()
        .map(|(_, r)| r)
        .collect();
    assert_eq!(left, [domain]);
}

#[tokio::test]
async fn a_reopened_store_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    store
        .put_site("small", Path::new("/sites/small/site.toml"))
        .await
        .unwrap();
    store
        .create_session("s1", "small", Mode::Recovery)
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.sites().await.unwrap()[0].name, "small");
    let session = &store.sessions().await.unwrap()[0];
    assert_eq!(
        (session.mode, session.state),
        (Mode::Recovery, SessionState::Running)
    );
    assert!(store.remove_site("small").await.unwrap());
    assert!(!store.remove_site("small").await.unwrap());
}

#[tokio::test]
async fn the_operators_words_stay_until_the_site_goes() {
    use lifeboat_bootorder::{OperatorWord, Verdict};
    let word = |before: &str, verdict| OperatorWord {
        before: before.into(),
        after: "web1".into(),
        verdict,
    };
    let words = [word("data1", Verdict::Reject), word("dir1", Verdict::Pin)];
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    store.put_site("small", Path::new("/s")).await.unwrap();
    store.put_operator_words("small", &words).await.unwrap();
    store.close().await;
    let store = Store::open(folder.path()).await.unwrap();
    assert_eq!(store.operator_words("small").await.unwrap(), words);
    assert_eq!(store.operator_words("other").await.unwrap(), []);
    store
        .put_operator_words("small", &words[1..])
        .await
        .unwrap();
    assert_eq!(store.operator_words("small").await.unwrap(), words[1..]);
    store.remove_site("small").await.unwrap();
    assert_eq!(store.operator_words("small").await.unwrap(), []);
}
