//! Pictures as torchvision and Pillow make them ready (`tests/golden/pictures.py` made the numbers).

use serde_json::Value;

use super::Preparation;
use super::decode::decode;

fn bytes(digits: &Value) -> Vec<u8> {
    let digits = digits.as_str().unwrap().as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits.as_chunks::<2>().0.iter().map(|&[high, low]| digit(high) * 16 + digit(low)).collect()
}

#[test]
fn every_kind_of_file_has_the_pixels_of_the_scripts_and_of_pillow() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/pictures/pictures.json")).unwrap();
    let size = golden["size"].as_u64().unwrap() as usize;
    let pictures = golden["pictures"].as_array().unwrap();
    assert_eq!(pictures.len(), 30);
    let mut compared = 0;
    for picture in pictures {
        let file = bytes(&picture["file"]);
        for (name, preparation) in [("scripts", Preparation::SCRIPTS), ("plain", Preparation::default())] {
            if picture[name].is_null() {
                continue;
            }
            let found = decode(&file, preparation).unwrap();
            assert_eq!(found.is_transparent, picture["is_transparent"], "{}, {name}", picture["name"]);
            let square = found.square(size).to_rgb8().into_raw();
            assert_eq!(square, bytes(&picture[name]), "{}, {name}", picture["name"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 30 + 24);
}
