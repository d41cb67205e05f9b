use super::choices::Update;
use super::section;

section! {
    /// A refiner and a generator as one problem.
    hybrid: Hybrid {
        /// The language model that refines requests
        refiner: Option<String> = None, "refiner";
        /// The diffusers folder that draws
        generator: Option<String> = None, "generator";
        /// What the refiner is compared with; train: else itself at the start; sample --pairs: side b's refiner
        refiner_reference: Option<String> = None, "refiner-reference";
        /// What the generator is compared with; train: else itself at the start; sample --pairs: side b's generator
        generator_reference: Option<String> = None, "generator-reference";
        /// Which half learns; the other's numbers still count in the loss
        update: Update = Update::Both, "update";
        /// The refiner's learning rate, where it is not --lr, on the same schedule
        refiner_lr: Option<f64> = None, "refiner-lr";
        /// What the refiner reads: {request} is the request, \n a line break
        template: String = "{request}\\n".to_owned(), "request-template";
        /// Trains each half alone too, and compares: refiner, generator, both separately, both jointly
        compare: bool = false, "compare";
    }
}
