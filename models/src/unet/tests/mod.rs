mod adapters;
mod files;
mod golden;
mod learning;
mod settings;
