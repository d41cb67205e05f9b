//! Processes that join, as threads, with a stand-in of a library.
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use candle_core::{Device, Tensor};

use super::{DeviceSums, Gather, Library, join, meet, sum_gradients};
use crate::parameters::Parameters;
use crate::{EngineError, Gradients};

/// Runs as many threads as processes, each with its rank and a way to all; what each returns.
pub(super) fn in_processes<T: Send>(size: usize, run: impl Fn(usize, &Gather<'_>) -> T + Sync) -> Vec<T> {
    let (door, brought) = (Barrier::new(size), Mutex::new(vec![Vec::new(); size]));
    let process = |rank: usize| {
        let gather = |bytes: &[u8]| {
            brought.lock().unwrap()[rank] = bytes.to_vec();
            door.wait();
            let all = brought.lock().unwrap().clone();
            door.wait();
            all
        };
        run(rank, &gather)
    };
    let process = &process;
    thread::scope(|scope| {
        let running: Vec<_> = (0..size).map(|rank| scope.spawn(move || process(rank))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A library that notes its calls.
#[derive(Debug, Default)]
struct Fake {
    device: Vec<u8>,
    fails: Option<&'static str>,
    has_joined: bool,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn of_device(device: &[u8]) -> Self {
        Self { device: device.to_vec(), ..Self::default() }
    }

    fn call(&self, call: &'static str, text: String) -> Result<(), EngineError> {
        self.calls.lock().unwrap().push(text);
        match self.fails {
            Some(fails) if fails == call => Err(EngineError::DeviceSums { action: "pretend", reason: call.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl Library for Fake {
    fn device(&self) -> Result<Vec<u8>, EngineError> {
        self.call("device", "device".to_owned())?;
        Ok(self.device.clone())
    }

    fn joined(&self) -> Option<Arc<dyn DeviceSums>> {
        self.has_joined.then(|| Arc::new(Doubled) as _)
    }

    fn invite(&self) -> Result<Vec<u8>, EngineError> {
        self.call("invite", "invite".to_owned())?;
        Ok(b"come".to_vec())
    }

    fn join(&self, invitation: &[u8], rank: usize, size: usize) -> Result<Arc<dyn DeviceSums>, EngineError> {
        let invitation = String::from_utf8_lossy(invitation);
        self.call("join", format!("join {invitation} {rank} {size}"))?;
        Ok(Arc::new(Doubled))
    }
}

/// The sums of two processes with the same numbers.
#[derive(Debug)]
struct Doubled;

impl DeviceSums for Doubled {
    fn sum(&self, tensors: &[&Tensor]) -> candle_core::Result<()> {
        tensors.iter().try_for_each(|tensor| crate::host::scale_in_place(tensor, 2.0))
    }
}

/// What each of several processes gets, and the calls that each has made.
fn met(libraries: &[Option<Fake>]) -> Vec<(Result<bool, String>, Vec<String>)> {
    in_processes(libraries.len(), |rank, gather| {
        let library = libraries[rank].as_ref();
        let sums = meet(library.map(|library| library as &dyn Library), rank, gather);
        let calls = library.map(|library| library.calls.lock().unwrap().clone());
        (sums.map(|sums| sums.is_some()).map_err(|error| error.to_string()), calls.unwrap_or_default())
    })
}

#[test]
fn the_first_process_invites_all_others() {
    let all = met(&[Some(Fake::of_device(b"a")), Some(Fake::of_device(b"b")), Some(Fake::of_device(b"c"))]);
    for (rank, (sums, calls)) in all.into_iter().enumerate() {
        assert_eq!(sums, Ok(true));
        let expected = format!("device {} join come {rank} 3", if rank == 0 { "invite" } else { "" });
        assert_eq!(calls.join(" "), expected.replace("  ", " "));
    }
}

#[test]
fn who_has_joined_is_not_invited_again() {
    let fake = |device: &[u8]| Some(Fake { has_joined: true, ..Fake::of_device(device) });
    for (sums, calls) in met(&[fake(b"a"), fake(b"b")]) {
        assert_eq!((sums, calls), (Ok(true), vec!["device".to_owned()]));
    }
}

#[test]
fn nobody_sums_where_one_can_not() {
    for (sums, calls) in met(&[Some(Fake::of_device(b"a")), None, Some(Fake::of_device(b"c"))]) {
        assert_eq!(sums, Ok(false));
        assert!(calls.is_empty() || calls == ["device"], "{calls:?}");
    }
    let sums = in_processes(2, |rank, gather| join(&Device::Cpu, rank, gather).unwrap().is_some());
    assert_eq!(sums, [false, false]);
}

#[test]
fn two_processes_with_one_device_are_refused_everywhere() {
    let all = met(&[Some(Fake::of_device(b"a")), Some(Fake::of_device(b"b")), Some(Fake::of_device(b"a"))]);
    for (sums, calls) in all {
        let message = sums.unwrap_err();
        assert!(message.contains("ranks 0 and 2") && message.contains("`cuda`"), "{message}");
        assert_eq!(calls, ["device"]);
    }
}

#[test]
fn no_process_waits_for_one_that_fails() {
    // That of the device is known to its process alone, and the others do without.
    let failing = |fails| Some(Fake { fails: Some(fails), ..Fake::of_device(b"a") });
    let all = met(&[failing("device"), Some(Fake::of_device(b"b"))]);
    assert!(all[0].0.is_err() && all[1].0 == Ok(false), "{all:?}");
    let all = met(&[failing("invite"), Some(Fake::of_device(b"b"))]);
    assert!(all[0].0.as_ref().unwrap_err().contains("invite"), "{all:?}");
    assert!(all[1].0.as_ref().unwrap_err().contains("rank 0 has failed"), "{all:?}");
}

#[test]
fn every_gradient_is_summed_where_it_lies_and_a_missing_one_has_zeros() {
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let mut parameters = Parameters::default();
    parameters.insert_trainable("a", tensor(&[1., 2.])).unwrap();
    parameters.insert_trainable("b", tensor(&[3., 4.])).unwrap();
    parameters.insert_frozen("c", tensor(&[5.])).unwrap();
    let mut gradients = Gradients::default();
    gradients.add("b", &tensor(&[0.5, -1.])).unwrap();
    let place = gradients.get("b").unwrap().id();
    let before = crate::transfer::copies();
    sum_gradients(&Doubled, &mut gradients, &parameters).unwrap();
    assert_eq!(crate::transfer::copies(), before);
    let numbers = |name: &str| gradients.get(name).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((numbers("a"), numbers("b")), (vec![0., 0.], vec![1., -2.]));
    assert_eq!(gradients.get("b").unwrap().id(), place);
    assert!(gradients.get("c").is_none());
    // Kept memory of an earlier step takes part with zeros too.
    gradients.clear();
    sum_gradients(&Doubled, &mut gradients, &parameters).unwrap();
    assert_eq!(gradients.get("b").unwrap().to_vec1::<f32>().unwrap(), [0., 0.]);
}
