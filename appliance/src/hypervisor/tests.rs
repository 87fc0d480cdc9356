use std::io::Read;

use super::worker::parse_pixmap;
use super::{DomainStart, Hypervisor};

/// Ends the domain also when the test fails.
struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        let virsh = ["-c", "qemu:///system", "destroy", &self.0];
        drop(std::process::Command::new("virsh").args(virsh).output());
    }
}

#[tokio::test]
async fn a_screen_is_seen_and_opened_by_several_though_nothing_listens() {
    let hypervisor = Hypervisor::start();
    if let Err(error) = hypervisor.capabilities().await {
        eprintln!("skipped: no libvirt here ({error})");
        return;
    }
    let name = format!("lifeboat-screen-{}", std::process::id());
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>\
         <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
         <graphics type='vnc'><listen type='none'/></graphics>\
         <video><model type='vga'/></video></devices></domain>"
    );
    let gone = Gone(name.clone());
    let start = DomainStart {
        name: name.clone(),
        xml,
        disks: Vec::new(),
    };
    hypervisor.start_domain(start).await.unwrap();
    let picture = hypervisor.screen(&name).await.unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    let mut displays = Vec::new();
    for _ in 0..2 {
        displays.push(hypervisor.open_display(&name).await.unwrap());
    }
    for display in &mut displays {
        let mut version = [0; 4];
        display.read_exact(&mut version).unwrap();
        assert_eq!(&version, b"RFB ");
    }
    drop(gone);
    assert!(hypervisor.open_display(&name).await.is_err());
}

#[test]
fn pixmap_headers() {
    let picture = b"P6\n# made by QEMU\n2 1\n255\nabcdef";
    assert_eq!(parse_pixmap(picture), Some((2, 1, &b"abcdef"[..])));
    assert_eq!(parse_pixmap(b"P6 2 1 255\nabc"), None);
    assert_eq!(parse_pixmap(b"P6 99999999 99999999 255\nabc"), None);
}

proptest::proptest! {
    #[test]
    fn no_pixmap_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let mut picture = b"P6".to_vec();
        picture.extend(bytes);
        let _ = parse_pixmap(&picture);
    }
}
