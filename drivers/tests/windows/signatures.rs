//! Drivers whose signature the guest's Windows would turn away.

use lifeboat_drivers::windows::report::WindowsRefusal;
use lifeboat_drivers::windows::signature::{Objection, Rules, of_catalogue, of_program};
use lifeboat_drivers::{Bus, NicModel, Refusal, Target};
use lifeboat_hive::{Editor, Hive, kind};
use proptest::prelude::*;

use crate::directory::{Bench, virtio};
use crate::fixture::*;
use crate::signing::*;

const RED_HAT: &[&str] = &[
    "Red Hat",
    "VeriSign Class 3 Code Signing 2010 CA",
    "VeriSign Class 3 G5",
    CROSS,
];
const CROSS_SIGNED: Maker = Maker {
    names: RED_HAT,
    sha2: false,
    attested: false,
};
const WINDOWS_8: Rules = Rules {
    attested: false,
    sha2: true,
};
const OLD_7: Rules = Rules {
    attested: false,
    sha2: false,
};

fn sha2(maker: Maker<'static>) -> Maker<'static> {
    Maker {
        sha2: true,
        ..maker
    }
}

/// On an old Windows 7, on Windows 8 and on the newest.
type Expected = [Option<Objection>; 3];

#[test]
fn each_windows_takes_what_it_takes() {
    let test_signed = Maker {
        names: &["VirtIO Test", "VirtIO Test CA"],
        sha2: true,
        attested: false,
    };
    let attested = Maker {
        attested: true,
        ..BY_MICROSOFT
    };
    let newest = Rules {
        attested: true,
        sha2: true,
    };
    let unknown = Objection::UnknownAuthority {
        signer: "VirtIO Test".to_owned(),
    };
    let cases: [(&[Vec<u8>], Expected); 6] = [
        (&[], [const { Some(Objection::Unsigned) }; 3]),
        (
            &[test_signed.signature(None)],
            [(); 3].map(|()| Some(unknown.clone())),
        ),
        (&[CROSS_SIGNED.signature(None)], [None, None, None]),
        (
            &[sha2(CROSS_SIGNED).signature(None)],
            [Some(Objection::Sha2), None, None],
        ),
        (
            &[attested.signature(None)],
            [Some(Objection::Attested), Some(Objection::Attested), None],
        ),
        // The second one counts, inside the first or behind it.
        (
            &[test_signed.signature(Some(CROSS_SIGNED))],
            [None, None, None],
        ),
    ];
    for (signatures, expected) in cases {
        let program = signed(program(AMD64, "driver"), signatures);
        let found = of_program(&program);
        for (rules, expected) in [OLD_7, WINDOWS_8, newest].into_iter().zip(expected) {
            assert_eq!(rules.objection(&found), expected, "{found:?}");
        }
    }
    let two = [attested.signature(None), CROSS_SIGNED.signature(None)];
    let found = of_program(&signed(program(AMD64, "driver"), &two));
    assert_eq!(OLD_7.objection(&found), None, "{found:?}");
    let found = of_catalogue(&BY_MICROSOFT.signature(None));
    assert!(found[0].is_tested(), "{found:?}");
    assert!(!of_catalogue(&CROSS_SIGNED.signature(None))[0].is_tested());
}

proptest! {
    #[test]
    fn hostile_signatures_stop_nothing(place in 0_usize..4000, byte: u8, cut in 0_usize..4000) {
        let whole = signed(program(AMD64, "x"), &[CROSS_SIGNED.signature(Some(BY_MICROSOFT))]);
        let mut bytes = whole;
        let place = place % bytes.len();
        bytes[place] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut % 64));
        prop_assert!(of_program(&bytes).len() <= 2);
        of_catalogue(&bytes[bytes.len() / 2..]);
    }
}

/// A guest, and an image whose drivers for it are signed so.
fn bench(kind: Kind, folder: &str, maker: Option<Maker>) -> Option<Bench> {
    Bench::with_drivers(kind, &|root| {
        for driver in ["viostor", "vioscsi", "NetKVM"] {
            let lower = driver.to_lowercase();
            let path = root.join(format!("{driver}/{folder}/amd64/{lower}.sys"));
            let plain = program(AMD64, &lower);
            let signatures = maker.map(|maker| maker.signature(None));
            std::fs::write(path, signed(plain, signatures.as_slice())).unwrap();
        }
    })
}

fn refusal(bench: &Bench) -> Refusal {
    bench.plan(&virtio()).map(|_| ()).unwrap_err()
}

#[test]
fn windows_2012_r2_is_not_given_a_driver_that_it_turns_away() {
    let Some(unsigned) = bench(WINDOWS_2012_R2, "2k12R2", None) else {
        return;
    };
    let attested = Maker {
        attested: true,
        ..BY_MICROSOFT
    };
    let attested = bench(WINDOWS_2012_R2, "2k12R2", Some(attested)).unwrap();
    for (bench, why) in [(&unsigned, "no signature"), (&attested, "Windows 10")] {
        let refusal = refusal(bench);
        let text = refusal.to_string();
        assert!(
            text.contains(why) && text.contains("--for 2k12r2"),
            "{text}"
        );
        assert!(!text.contains('\n'));
        let target = refusal.fallback().unwrap().target();
        assert_eq!((target.disk, target.nic), (Bus::Ahci, NicModel::E1000e));
        bench.inject(&request(&[("00:0c:29:f3:ff:de", None)], target));
    }
    let accepted = bench(WINDOWS_2012_R2, "2k12R2", Some(sha2(CROSS_SIGNED))).unwrap();
    accepted.inject(&virtio());
}

#[test]
fn windows_2008_r2_understands_sha_2_after_an_update() {
    let Some(old) = bench(WINDOWS_2008_R2, "2k8R2", Some(CROSS_SIGNED)) else {
        return;
    };
    old.inject(&virtio());
    let new = bench(WINDOWS_2008_R2, "2k8R2", Some(sha2(CROSS_SIGNED))).unwrap();
    let text = refusal(&new).to_string();
    assert!(
        text.contains("KB4474419") && text.contains("AHCI"),
        "{text}"
    );
    let path = new.path("Windows/System32/config/SOFTWARE");
    let mut editor = Editor::open(std::fs::read(&path).unwrap(), &[]).unwrap();
    let key = "Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\Packages\\Package_for_KB4474419~31bf3856ad364e35~amd64~~6.1.3.2";
    let mut state = |state: u32| {
        editor
            .set(key, "CurrentState", kind::NUMBER, &state.to_le_bytes())
            .unwrap();
    };
    state(0);
    state(0x70);
    std::fs::write(&path, editor.finish()).unwrap();
    new.inject(&virtio());
}

#[test]
fn the_other_bus_is_left_out_when_its_driver_alone_is_bad() {
    let made = Bench::with_drivers(WINDOWS_2012_R2, &|root| {
        let path = root.join("vioscsi/2k12R2/amd64/vioscsi.sys");
        std::fs::write(path, program(AMD64, "unsigned")).unwrap();
    });
    let Some(bench) = made else {
        return;
    };
    let (_, plan, _) = bench.inject(&virtio());
    let told = |warning: &String| warning.contains("vioscsi") && warning.contains("no signature");
    assert!(plan.warnings.iter().any(told), "{:?}", plan.warnings);
    let hive = Hive::open(bench.hive("SYSTEM"), &[]).unwrap();
    let service = |name: &str| {
        let path = format!("ControlSet001\\Services\\{name}");
        hive.root()
            .unwrap()
            .at(&path)
            .and_then(|key| key.number("Start"))
    };
    assert_eq!((service("viostor"), service("vioscsi")), (Some(0), None));
    let scsi = Target {
        disk: Bus::VirtioScsi,
        ..Target::default()
    };
    let refusal = bench.plan(&request(&[], scsi)).unwrap_err();
    let is_it = matches!(&refusal, Refusal::Windows { why: WindowsRefusal::UntrustedDriver { driver, .. } } if driver.starts_with("vioscsi of"));
    assert!(is_it, "{refusal}");
}
