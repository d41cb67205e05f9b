//! Files of tensors alone.

use std::collections::BTreeMap;
use std::io::Cursor;

use ::safetensors::tensor::{Dtype, TensorView};
use datasets::control::JudgedSegments;
use tensorfile::{NpzFile, NpzValues, SafetensorsFile, write_npz};

use super::{scene, told};

/// A file of safetensors; what it holds is the same when it is written again.
pub(crate) fn safetensors(input: &[u8]) -> Result<(), String> {
    let (_folder, path) = scene::file("x.safetensors", input);
    let file = SafetensorsFile::open(&path).map_err(told)?;
    let mut stored = BTreeMap::new();
    for (name, entry) in file.entries() {
        let bytes = file.bytes(name).map_err(told)?;
        // Integers are refused as floats.
        if let Ok(numbers) = file.floats(name) {
            assert_eq!(numbers.len(), entry.shape.iter().product::<usize>(), "{name}");
            let _ = file.float_row(name, 0);
        }
        stored.insert(name.clone(), (entry.dtype.clone(), entry.shape.clone(), bytes));
    }
    let views = stored.iter().map(|(name, (dtype, shape, bytes))| {
        let dtype: Dtype = serde_json::from_value(dtype.as_str().into()).ok()?;
        Some((name, TensorView::new(dtype, shape.clone(), bytes).expect("a tensor that was read fits its shape")))
    });
    let Some(views) = views.collect::<Option<Vec<_>>>() else { return Ok(()) };
    // The crate writes broken JSON of no tensors with empty notes.
    let notes = (!file.metadata().is_empty()).then(|| file.metadata().clone().into_iter().collect());
    let again = ::safetensors::serialize(views, notes).map_err(told)?;
    let (_folder, path) = scene::file("again.safetensors", &again);
    let again = SafetensorsFile::open(&path).expect("a file that was read can be written again");
    assert_eq!(file.metadata(), again.metadata());
    for (name, (dtype, shape, bytes)) in &stored {
        let entry = again.entry(name).expect("every tensor is written");
        assert_eq!((dtype, shape, bytes), (&entry.dtype, &entry.shape, &again.bytes(name).unwrap()), "{name}");
    }
    Ok(())
}

/// An archive of numpy's arrays, alone and as judged segments; both are the same when they are written again.
pub(crate) fn npz(input: &[u8]) -> Result<(), String> {
    let (_folder, path) = scene::file("x.npz", input);
    let file = NpzFile::open(&path).map_err(told)?;
    let mut arrays = Vec::new();
    for name in file.names() {
        let _ = file.floats(name);
        if let Ok(values) = file.doubles(name) {
            let shape = file.shape(name).map_err(told)?;
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
            arrays.push((name, shape, values));
        }
    }
    let borrowed = arrays.iter().map(|(name, shape, values)| (*name, *shape, NpzValues::F64(values)));
    let mut bytes = Cursor::new(Vec::new());
    write_npz(&mut bytes, &borrowed.collect::<Vec<_>>()).map_err(told)?;
    let (_folder, again) = scene::file("again.npz", bytes.get_ref());
    let again = NpzFile::open(&again).expect("arrays that were read can be written again");
    for (name, shape, values) in &arrays {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(again.shape(name).unwrap(), *shape, "{name}");
        assert_eq!(bits(&again.doubles(name).unwrap()), bits(values), "{name}");
    }
    segments(&path)
}

fn segments(path: &std::path::Path) -> Result<(), String> {
    let read = JudgedSegments::read(path, None).map_err(told)?;
    let mut bytes = Cursor::new(Vec::new());
    read.write_npz(&mut bytes).map_err(told)?;
    let (_folder, again) = scene::file("again.npz", bytes.get_ref());
    assert_eq!(JudgedSegments::read(&again, None).expect("segments that were read can be written again"), read);
    Ok(())
}
