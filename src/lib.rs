//! Preference learning for models of any kind.
pub use {datasets, engine, mdp, models, objectives, policies, train};
