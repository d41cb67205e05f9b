mod files;
mod golden;
mod learning;
mod policy;
