//! The cache first, the hub after it.
use crate::whole::{State, state};
use crate::{Hub, HubError, Name, Progress, Snapshot};

impl Hub {
    /// Finds a name: in the cache if it is whole there, without asking anybody; else what is needed of it is downloaded into the
    /// cache. A copy that can be read serves where the hub can't be asked for the rest of it. What arrives of a download that is ended
    /// is kept, and the next one goes on from there.
    ///
    /// # Errors
    /// The cache does not have it and nothing may be asked for; the hub does not have it, or not for this user; the connection
    /// fails repeatedly; files arrive damaged; the disk is full.
    pub fn get(&self, name: &Name, progress: &mut dyn Progress) -> Result<Snapshot, HubError> {
        let copy = self.cache.find(name);
        let found = copy.as_ref().map(|copy| state(&self.cache, copy));
        let why = self.why_not();
        match (copy, found, why) {
            (Some(copy), Some(State::Whole), _) | (Some(copy), Some(State::Readable), Some(_)) => Ok(copy),
            (Some(copy), Some(State::Lacks(what)), Some(why)) => {
                Err(HubError::Lacking { name: name.to_string(), folder: copy.folder, what, why: why.to_owned() })
            }
            (Some(_), None, Some(why)) | (None, _, Some(why)) => Err(self.uncached(name, why)),
            (Some(copy), Some(State::Readable), None) => Ok(self.complete(copy, progress)),
            (Some(_), None | Some(State::Lacks(_)), None) | (None, _, None) => self.download(name, progress),
        }
    }

    /// Why nothing is asked for; `None` if it may be.
    fn why_not(&self) -> Option<&'static str> {
        if self.is_offline {
            return Some("the hub is not asked, for HF_HUB_OFFLINE is set");
        }
        (!cfg!(feature = "download")).then_some("this build downloads nothing (feature `hub`)")
    }

    fn uncached(&self, name: &Name, why: &'static str) -> HubError {
        HubError::Uncached {
            name: name.to_string(),
            kind: name.kind,
            cache: self.cache.folder().to_owned(),
            why,
            there: self.cache.names(name.kind, &name.repository),
        }
    }

    /// A copy that can be read, with what the hub has beside it if it can be reached.
    fn complete(&self, copy: Snapshot, progress: &mut dyn Progress) -> Snapshot {
        // Its own commit, so that no other model takes its place.
        let name = Name { revision: Some(copy.commit.clone()), ..copy.name.clone() };
        match self.download(&name, progress) {
            Ok(whole) => Snapshot { name: copy.name, ..whole },
            Err(error) => {
                progress.notice(&format!(
                    "{}: the copy in the cache is read as it is; what it may lack could not be asked for: {error}",
                    copy.name
                ));
                copy
            }
        }
    }

    #[cfg(feature = "download")]
    fn download(&self, name: &Name, progress: &mut dyn Progress) -> Result<Snapshot, HubError> {
        crate::download::download(self, name, progress)
    }

    #[cfg(not(feature = "download"))]
    fn download(&self, name: &Name, _: &mut dyn Progress) -> Result<Snapshot, HubError> {
        Err(self.uncached(name, "this build downloads nothing (feature `hub`)"))
    }
}
