mod adapters;
mod files;
mod golden;
mod settings;
