use super::choices::Update;
use super::section;

section! {
    /// A refiner and a generator as one problem.
    hybrid: Hybrid {
        /// The language model that refines requests
        refiner: Option<String> = None, "refiner";
        /// The diffusers folder that draws
        generator: Option<String> = None, "generator";
        /// The refiner's reference; train: by default its starting weights; sample `label.pairs`: the refiner of side b
        refiner_reference: Option<String> = None, "refiner-reference";
        /// The generator's reference; train: by default its starting weights; sample `label.pairs`: the generator of
        /// side b
        generator_reference: Option<String> = None, "generator-reference";
        /// Which half learns; the other's numbers still count in the loss
        update: Update = Update::Both, "update";
        /// The refiner's learning rate, if other than `optimizer.lr`, on the same schedule
        refiner_lr: Option<f64> = None, "refiner-lr";
        /// The refiner's prompt template: {request} is the request, \n a line break
        template: String = "{request}\\n".to_owned(), "request-template";
        /// Completes pairs without refined prompts: diverse beams of this many refinements of each request, of which
        /// one is drawn for each picture by its posterior under the references; 0: unrefined requests
        complete_refinements: usize = 0, "complete-refinements";
        /// Trains each half alone too, and compares: refiner, generator, both separately, both jointly
        compare: bool = false, "compare";
    }
}
