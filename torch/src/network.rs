//! LibTorch's modules as networks whose weights are kept elsewhere.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use models::ModelError;
use models::causal::TokenBatch;
use models::denoiser::PixelBatch;
use models::external::{ExternalInstance, ExternalNetwork, ExternalTape, ExternalTensor, NamedNumbers};
use tch::{Kind, TchError, Tensor};

use crate::Settings;
use crate::module::{Module, Source, failed, write_settings};

/// A module with its settings, as data.
#[derive(Debug)]
pub(crate) struct TorchNetwork {
    source: Arc<dyn Source>,
    settings: Settings,
    identity: String,
    tensors: BTreeMap<String, ExternalTensor>,
}

impl TorchNetwork {
    /// A network of a source, with the weights that its modules begin with.
    pub(crate) fn new(source: impl Source + 'static, settings: Settings) -> Result<(Self, NamedNumbers), ModelError> {
        let first = Instance::of(&source, settings.clone())?;
        let learns = |parameter: &Parameter| parameter.members[0].requires_grad();
        let shape = |parameter: &Parameter| -> Vec<usize> {
            parameter.members[0].size().iter().map(|size| *size as usize).collect()
        };
        let described = |parameter: &Parameter| ExternalTensor { shape: shape(parameter), learns: learns(parameter) };
        let tensors = first.parameters.iter().map(|parameter| (parameter.name.clone(), described(parameter))).collect();
        let numbers =
            first.parameters.iter().map(|parameter| Ok((parameter.name.clone(), host(&parameter.members[0])?)));
        let weights = numbers.collect::<Result<_, TchError>>().map_err(|error| failed(source.name(), &error))?;
        let identity = format!("{} {}", source.identity(), settings.to_json());
        Ok((Self { source: Arc::new(source), settings, identity, tensors }, weights))
    }

    fn made(&self) -> Result<Instance, ModelError> {
        Instance::of(self.source.as_ref(), self.settings.clone())
    }

    fn write_to(&self, folder: &Path, weights: &NamedNumbers) -> Result<(), ModelError> {
        let mut instance = self.made()?;
        instance.take(weights)?;
        instance.module.write(folder).map_err(|error| failed(self.source.name(), &error))?;
        write_settings(folder, &self.settings)
    }
}

/// A parameter, under one name; others may share its memory.
#[derive(Debug)]
struct Parameter {
    name: String,
    members: Vec<Tensor>,
}

/// A module with weights.
#[derive(Debug)]
struct Instance {
    name: PathBuf,
    settings: Settings,
    module: Box<dyn Module>,
    parameters: Vec<Parameter>,
}

impl Instance {
    fn of(source: &(impl Source + ?Sized), settings: Settings) -> Result<Self, ModelError> {
        let module = source.module()?;
        let listed = module.parameters().map_err(|error| failed(source.name(), &error))?;
        let mut parameters: Vec<Parameter> = Vec::new();
        for (name, tensor) in listed {
            if tensor.kind() != Kind::Float {
                let reason = format!("is {:?}, expected Float; export the module in float32", tensor.kind());
                return Err(ModelError::tensor(source.name(), name, reason));
            }
            let is_shared =
                |other: &&mut Parameter| other.members[0].data_ptr() == tensor.data_ptr() && tensor.numel() > 0;
            match parameters.iter_mut().find(is_shared) {
                None => parameters.push(Parameter { name, members: vec![tensor] }),
                // One variable under two names has one gradient; two variables of one memory have one each.
                Some(other) if is_one(&other.members[0], &tensor) => {}
                Some(other) if other.members[0].size() == tensor.size() => other.members.push(tensor),
                Some(other) => {
                    let reason = format!("shares its memory with `{}` in another shape", other.name);
                    return Err(ModelError::tensor(source.name(), name, reason));
                }
            }
        }
        Ok(Self { name: source.name().to_owned(), settings, module, parameters })
    }

    fn failed(&self, error: &TchError) -> ModelError {
        failed(&self.name, error)
    }

    /// Takes weights.
    fn take(&mut self, weights: &NamedNumbers) -> Result<(), ModelError> {
        for parameter in &mut self.parameters {
            let tensor = &mut parameter.members[0];
            let Some(numbers) = weights.get(&parameter.name).filter(|numbers| numbers.len() == tensor.numel()) else {
                let reason = format!("needs {} numbers", tensor.numel());
                return Err(ModelError::tensor(&self.name, parameter.name.clone(), reason));
            };
            let given = Tensor::from_slice(numbers);
            let copied = tch::no_grad(|| given.f_view(&tensor.size()[..]).map(|given| tensor.copy_(&given)));
            copied.map_err(|error| failed(&self.name, &error))?;
        }
        Ok(())
    }

    /// The logits of the wanted places, `[wanted, vocabulary]`.
    fn logits(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let (n, length) = (batch.n() as i64, batch.length as i64);
        let Settings::Tokens(settings) = &self.settings else { return Err(self.other_kind("token-logits")) };
        let ids: Vec<i64> = batch.tokens.iter().map(|token| i64::from(*token)).collect();
        let ids = Tensor::from_slice(&ids).view([n, length]);
        let output = self.module.forward(vec![ids]).map_err(|error| self.failed(&error))?;
        self.check(&output, &[n, length, settings.vocabulary as i64], "logits [batch, length, vocabulary]")?;
        let places = batch.wanted.iter().map(|(sequence, position)| (sequence * batch.length + position) as i64);
        let places = Tensor::from_slice(&places.collect::<Vec<i64>>());
        let flat = output.f_reshape([-1, settings.vocabulary as i64]).and_then(|flat| flat.f_index_select(0, &places));
        flat.map_err(|error| self.failed(&error))
    }

    /// The prediction, `[n, channels, height, width]`.
    fn prediction(&self, batch: &PixelBatch) -> Result<Tensor, ModelError> {
        let Settings::Images(settings) = &self.settings else { return Err(self.other_kind("denoiser")) };
        let shape = batch.shape.map(|size| size as i64);
        let mut inputs = vec![Tensor::from_slice(&batch.pixels).view(shape), Tensor::from_slice(&batch.times)];
        if let Some((values, [length, width])) = &batch.context {
            let wanted = settings.context.and_then(|context| context.length).filter(|wanted| wanted != length);
            if let Some(wanted) = wanted {
                return Err(ModelError::Argument {
                    what: format!("the captions for {}", self.name.display()),
                    expected: format!("{wanted} hidden states (`context.length`)"),
                    got: length.to_string(),
                });
            }
            inputs.push(Tensor::from_slice(values).view([shape[0], *length as i64, *width as i64]));
        }
        let output = self.module.forward(inputs).map_err(|error| self.failed(&error))?;
        self.check(&output, &shape, "a prediction [batch, channels, height, width]")?;
        Ok(output)
    }

    /// Checks an output.
    fn check(&self, output: &Tensor, expected: &[i64], what: &str) -> Result<(), ModelError> {
        if output.size() == expected && output.kind() == Kind::Float {
            return Ok(());
        }
        Err(ModelError::Argument {
            what: format!("the output of {}", self.name.display()),
            expected: format!("{what} of shape {expected:?} in Float"),
            got: format!("shape {:?} in {:?}", output.size(), output.kind()),
        })
    }

    fn other_kind(&self, expected: &str) -> ModelError {
        ModelError::format(&self.name, format!("its settings are not of kind {expected}"))
    }

    /// The tape of an output, which has to depend on a parameter: else nothing would learn.
    fn tape(&self, output: Tensor) -> Result<(Vec<f32>, Box<dyn ExternalTape>), ModelError> {
        if !output.requires_grad() {
            let learns = self.parameters.iter().any(|parameter| parameter.members[0].requires_grad());
            return Err(learns_nothing(&self.name, if learns { NO_GRAPH } else { ALL_FIXED }));
        }
        let numbers = host(&output.detach()).map_err(|error| self.failed(&error))?;
        let learns = |parameter: &&Parameter| parameter.members[0].requires_grad();
        let learning = self.parameters.iter().filter(learns).map(|parameter| Parameter {
            name: parameter.name.clone(),
            members: parameter.members.iter().map(Tensor::shallow_clone).collect(),
        });
        let tape = Tape { name: self.name.clone(), output, parameters: learning.collect() };
        Ok((numbers, Box::new(SharedTape(Mutex::new(tape)))))
    }

    /// The numbers of an output without a graph.
    fn numbers(&self, output: impl FnOnce(&Self) -> Result<Tensor, ModelError>) -> Result<Vec<f32>, ModelError> {
        let output = tch::no_grad(|| output(self))?;
        host(&output).map_err(|error| self.failed(&error))
    }
}

/// Implements a network and its instances for what a pass reads, by the function that makes their output.
macro_rules! reads {
    ($batch:ty, $output:ident) => {
        impl ExternalNetwork<$batch> for TorchNetwork {
            fn identity(&self) -> &str {
                &self.identity
            }

            fn tensors(&self) -> &BTreeMap<String, ExternalTensor> {
                &self.tensors
            }

            fn instance(&self) -> Result<Box<dyn ExternalInstance<$batch>>, ModelError> {
                Ok(Box::new(self.made()?))
            }

            fn write(&self, folder: &Path, weights: &NamedNumbers) -> Result<(), ModelError> {
                self.write_to(folder, weights)
            }
        }

        impl ExternalInstance<$batch> for Instance {
            fn set_weights(&mut self, weights: &NamedNumbers) -> Result<(), ModelError> {
                self.take(weights)
            }

            fn run(&mut self, batch: &$batch) -> Result<Vec<f32>, ModelError> {
                self.numbers(|instance| instance.$output(batch))
            }

            fn record(&mut self, batch: &$batch) -> Result<(Vec<f32>, Box<dyn ExternalTape>), ModelError> {
                self.tape(self.$output(batch)?)
            }
        }
    };
}
reads!(TokenBatch, logits);
reads!(PixelBatch, prediction);

/// A pass with its graph.
#[derive(Debug)]
struct Tape {
    name: PathBuf,
    output: Tensor,
    parameters: Vec<Parameter>,
}

/// A tape for one thread at a time, as tensors are.
#[derive(Debug)]
struct SharedTape(Mutex<Tape>);

impl ExternalTape for SharedTape {
    fn backward(self: Box<Self>, slopes: &[f32]) -> Result<NamedNumbers, ModelError> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).backward(slopes)
    }
}

impl Tape {
    fn backward(self, slopes: &[f32]) -> Result<NamedNumbers, ModelError> {
        let members = || self.parameters.iter().flat_map(|parameter| &parameter.members);
        let run = || -> Result<NamedNumbers, TchError> {
            let slopes = Tensor::from_slice(slopes).f_view(&self.output.size()[..])?;
            // Its slopes are the gradient of this sum.
            let sum = (&self.output * &slopes).f_sum(Kind::Float)?;
            let mut found = Tensor::f_run_backward(&[sum], &members().collect::<Vec<_>>(), false, false)?.into_iter();
            let mut gradients = NamedNumbers::new();
            for parameter in &self.parameters {
                for gradient in found.by_ref().take(parameter.members.len()).filter(Tensor::defined) {
                    let own = host(&gradient)?;
                    match gradients.get_mut(&parameter.name) {
                        None => drop(gradients.insert(parameter.name.clone(), own)),
                        Some(sum) => sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own),
                    }
                }
            }
            Ok(gradients)
        };
        let gradients = run().map_err(|error| failed(&self.name, &error))?;
        if gradients.is_empty() { Err(learns_nothing(&self.name, NO_GRAPH)) } else { Ok(gradients) }
    }
}

/// Why no parameter has a gradient.
const ALL_FIXED: &str =
    "it has no parameter that requires one (requires_grad; torch.jit.freeze makes constants of all)";
const NO_GRAPH: &str = "its output depends on none that requires one (torch.no_grad or detach in its forward)";

/// The refusal of a module that training would leave as it is.
fn learns_nothing(name: &Path, why: &str) -> ModelError {
    ModelError::format(name, format!("no parameter gets a gradient, so nothing would learn: {why}"))
}

/// Whether two tensors are one variable: what is set on one is then set on the other.
fn is_one(a: &Tensor, b: &Tensor) -> bool {
    let learns = a.requires_grad();
    if b.requires_grad() != learns {
        return false;
    }
    let _ = a.set_requires_grad(!learns);
    let is_one = b.requires_grad() != learns;
    let _ = a.set_requires_grad(learns);
    is_one
}

/// The numbers of a tensor in the order of rows.
fn host(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let flat = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
    let mut numbers = vec![0f32; flat.numel()];
    flat.f_copy_data(&mut numbers, flat.numel())?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use tch::nn;

    use super::*;
    use crate::TokenSettings;
    use crate::module::{Built, Forward};

    /// What recording a pass of such a module gives, and going back through it.
    fn learned(build: impl Fn(&nn::Path<'_>) -> Forward + Send + Sync + 'static) -> Result<NamedNumbers, String> {
        let settings = TokenSettings {
            vocabulary: 3,
            max_length: 4,
            eos: vec![0],
            bos: None,
            tokenizer: None,
            chat_template: None,
        };
        let (network, weights) = TorchNetwork::new(Built::new("own", build), Settings::Tokens(settings)).unwrap();
        let batch = TokenBatch { tokens: vec![1, 2], length: 2, wanted: vec![(0, 1)] };
        let mut instance = ExternalNetwork::<TokenBatch>::instance(&network).unwrap();
        instance.set_weights(&weights).unwrap();
        // A frozen module is a reference all the same.
        assert_eq!(instance.run(&batch).unwrap().len(), 3);
        let (_, tape) = instance.record(&batch).map_err(|error| error.to_string())?;
        tape.backward(&[1.0, 0.0, 0.0]).map_err(|error| error.to_string())
    }

    fn logits(weight: &Tensor, ids: &Tensor) -> Tensor {
        ids.unsqueeze(-1).to_kind(Kind::Float) * weight
    }

    #[test]
    fn a_module_that_nothing_can_learn_from_is_refused_before_it_learns() {
        let with = |weight: Tensor| Box::new(move |inputs: &[Tensor]| logits(&weight, &inputs[0])) as Forward;
        assert_eq!(learned(move |path| with(path.ones("w", &[3]))).unwrap()["w"], [2.0, 0.0, 0.0]);
        let fixed = learned(move |path| with(path.ones_no_train("w", &[3]))).unwrap_err();
        assert!(fixed.contains("own") && fixed.contains("no parameter gets a gradient"), "{fixed}");
        assert!(fixed.contains("requires_grad"), "{fixed}");
        let detached = learned(|path| {
            let weight = path.ones("w", &[3]);
            Box::new(move |inputs: &[Tensor]| logits(&weight, &inputs[0]).detach())
        });
        assert!(detached.unwrap_err().contains("depends on none"));
        // What learns here is no parameter of the module.
        let other = learned(|path| {
            let _ = path.ones("w", &[3]);
            let hidden = Tensor::ones([3], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
            Box::new(move |inputs: &[Tensor]| logits(&hidden, &inputs[0]))
        });
        assert!(other.unwrap_err().contains("depends on none"));
    }
}
