use super::worker::parse_pixmap;

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
