use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// A file with stored members of these bytes.
fn stored(members: &[(&str, Vec<u8>)]) -> tempfile::NamedTempFile {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    file(archive.finish().unwrap().get_ref())
}

/// The bytes of an `.npy` file of version 1 with this header.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn dictionary(descr: &str, is_fortran: bool, shape: &str) -> String {
    let order = if is_fortran { "True" } else { "False" };
    format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}   \n")
}

fn refusal(header: &str, data: &[u8]) -> String {
    let file = stored(&[("obs.npy", npy(header, data))]);
    let read = NpzFile::open(file.path()).and_then(|file| file.doubles("obs"));
    read.unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_back() {
    let mut bytes = Cursor::new(Vec::new());
    let (single, double) = ([1.5f32, -2.0, 0.1, 4.0, 5.0, 6.0], [0.1, f64::MAX]);
    let arrays: [(&str, &[usize], NpzValues<'_>); 3] = [
        ("b", &[2], NpzValues::F64(&double)),
        ("a", &[3, 2, 1], NpzValues::F32(&single)),
        ("c", &[0, 3], NpzValues::F32(&[])),
    ];
    write_npz(&mut bytes, &arrays).unwrap();
    let file = file(bytes.get_ref());
    let read = NpzFile::open(file.path()).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((read.shape("a").unwrap(), read.shape("c").unwrap()), (&[3, 2, 1][..], &[0, 3][..]));
    assert_eq!((read.floats("a").unwrap(), read.doubles("b").unwrap()), (single.to_vec(), double.to_vec()));
    assert!(read.floats("c").unwrap().is_empty() && read.has("c") && !read.has("d"));
    let message = read.floats("d").unwrap_err().to_string();
    assert!(message.ends_with("tensor `d`: not in this file, which has a, b, c"), "{message}");
    assert!(write_npz(Cursor::new(Vec::new()), &[("a", &[2], NpzValues::F32(&[1.0]))]).is_err());
    // The numbers of each array begin at a multiple of 64 within their file, as numpy's.
    let marks = bytes.get_ref().windows(10).filter(|ten| ten.starts_with(b"\x93NUMPY"));
    let begins: Vec<u16> = marks.map(|ten| 10 + u16::from_le_bytes([ten[8], ten[9]])).collect();
    assert_eq!(begins, [128; 3]);
}

#[test]
fn every_type_of_numbers_is_read() {
    let f16 = half::f16::from_f32(-1.5).to_le_bytes();
    for (descr, data, expected) in [
        ("<f8", (-0.25f64).to_le_bytes().to_vec(), -0.25),
        (">f8", 3.5f64.to_be_bytes().to_vec(), 3.5),
        ("<f4", 1.5f32.to_le_bytes().to_vec(), 1.5),
        ("<f2", f16.to_vec(), -1.5),
        ("<i8", (-7i64).to_le_bytes().to_vec(), -7.0),
        (">i4", (-7i32).to_be_bytes().to_vec(), -7.0),
        ("<i2", (-7i16).to_le_bytes().to_vec(), -7.0),
        ("|i1", vec![0xff], -1.0),
        ("|u1", vec![0xff], 255.0),
        ("<u4", 4_000_000_000u32.to_le_bytes().to_vec(), 4e9),
        ("|b1", vec![1], 1.0),
    ] {
        let file = stored(&[("x.npy", npy(&dictionary(&format!("'{descr}'"), false, "()"), &data))]);
        assert_eq!(NpzFile::open(file.path()).unwrap().doubles("x").unwrap(), [expected], "{descr}");
    }
}

#[test]
fn arrays_in_the_order_of_fortran_are_turned() {
    // 2 x 3 x 2 in the file's order: the first index is the fastest.
    let data: Vec<u8> = (0..12).collect();
    let file = stored(&[("x.npy", npy(&dictionary("'|u1'", true, "(2, 3, 2)"), &data))]);
    let expected: Vec<f32> = [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11].map(|n: u8| f32::from(n)).to_vec();
    assert_eq!(NpzFile::open(file.path()).unwrap().floats("x").unwrap(), expected);
    let none = stored(&[("x.npy", npy(&dictionary("'|u1'", true, "(2, 0)"), &[]))]);
    assert!(NpzFile::open(none.path()).unwrap().floats("x").unwrap().is_empty());
}

/// A zip of one member that is deflated, made by hand: the writer here stores.
fn deflated(name: &str, bytes: &[u8], checksum: u32) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    let packed = packed.finish().unwrap();
    let sizes =
        [checksum.to_le_bytes(), (packed.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
    // Version 2.0, no flags, deflate, the first of January 1980; then checksum, sizes and lengths of name and extra.
    let common =
        [&[20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0][..], &sizes, &(name.len() as u16).to_le_bytes(), &[0, 0]].concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), &packed].concat();
    let central = [b"PK\x01\x02\x14\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let end = [
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0",
        &(central.len() as u32).to_le_bytes()[..],
        &(local.len() as u32).to_le_bytes(),
        &[0, 0],
    ];
    [local, central, end.concat()].concat()
}

#[test]
fn deflated_arrays_are_read_and_checked() {
    let data: Vec<u8> = (0..10_000u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    let bytes = npy(&dictionary("'<f4'", false, "(100, 100)"), &data);
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    let whole = file(&deflated("x.npy", &bytes, crc.sum()));
    let read = NpzFile::open(whole.path()).unwrap();
    assert_eq!(read.floats("x").unwrap(), (0..10_000u16).map(f32::from).collect::<Vec<_>>());
    let damaged = file(&deflated("x.npy", &bytes, crc.sum() ^ 1));
    let message = NpzFile::open(damaged.path()).unwrap().floats("x").unwrap_err().to_string();
    assert!(message.contains("tensor `x`") && message.contains("checksum"), "{message}");
}

#[test]
fn what_is_no_array_of_numbers_is_refused_by_name() {
    let f4 = |shape: &str| dictionary("'<f4'", false, shape);
    for (header, data, expected) in [
        (dictionary("'|O'", false, "(1,)"), &[0x80][..], "Python objects"),
        (dictionary("[('x', '|O'), ('y', '<f4')]", false, "(1,)"), &[0; 4], "Python objects"),
        (dictionary("[('x', '<f4')]", false, "(1,)"), &[0; 4], "is of type [('x', '<f4')]; numbers"),
        (dictionary("'<U3'", false, "(1,)"), &[0; 12], "is of type <U3"),
        (dictionary("'<c8'", false, "(1,)"), &[0; 8], "is of type <c8"),
        (f4("(2,)"), &[0; 4], "of type <f4 and shape [2] takes 79"),
        (f4("(4611686018427387904, 4)"), &[0; 4], "more than any file has"),
        (f4("(1, x)"), &[0; 4], "shape can't be read"),
        ("{'descr': '<f4', 'shape': (1,)}".to_owned(), &[0; 4], "without `fortran_order`"),
    ] {
        let message = refusal(&header, data);
        assert!(message.contains("tensor `obs`") && message.contains(expected), "{header}: {message}");
    }
    let short = stored(&[("obs.npy", b"\x93NUMPY\x01\x00\xff\xff{'descr'".to_vec())]);
    assert!(NpzFile::open(short.path()).unwrap_err().to_string().contains("cut off"));
    let other = stored(&[("obs.npy", b"not an array at all".to_vec())]);
    assert!(NpzFile::open(other.path()).unwrap_err().to_string().contains("does not begin as an .npy file"));
}

#[test]
fn what_is_no_zip_is_refused() {
    for bytes in [&b""[..], b"PK\x03\x04", b"\x93NUMPY\x01\x00", &[7; 1000]] {
        let file = file(bytes);
        let message = NpzFile::open(file.path()).unwrap_err().to_string();
        assert!(message.contains("not an .npz file"), "{message}");
    }
    let nothing = stored(&[("readme.txt", b"hello".to_vec())]);
    let message = NpzFile::open(nothing.path()).unwrap().floats("obs").unwrap_err().to_string();
    assert!(message.ends_with("not in this file, which has no array"), "{message}");
}
