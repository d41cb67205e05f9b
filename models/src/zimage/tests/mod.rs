mod files;
mod golden;
mod learning;
mod pipeline;
mod policy;
