//! Preference learning for models of any kind.
pub use {datasets, engine, mdp, objectives, policies, train};
