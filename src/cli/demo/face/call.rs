//! The calls of the Face-like service: their paths, methods, parameters and bodies.

use http::Method;
use serde::Deserialize;

use super::refused::Refused;
use super::uuid::Uuid;

/// Most faces in one `identify` (Face's limit).
const MOST_FACES: usize = 10;

/// Candidates that `identify` returns for a face at most, where the caller does not say (Face's default and limit).
const CANDIDATES: (usize, usize) = (10, 100);

/// A call, as its path names it. The version, `v…`, is any: all do the same here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call<'p> {
    /// `/face/{v}/detect`
    Detect,
    /// `/face/{v}/identify`
    Identify,
    /// `/face/{v}/verify`
    Verify,
    /// `/face/{v}/largepersongroups/{group}`
    Group { group: &'p str },
    /// `/face/{v}/largepersongroups/{group}/persons`
    Persons { group: &'p str },
    /// `/face/{v}/largepersongroups/{group}/persons/{person}/persistedfaces`
    Faces { group: &'p str, person: &'p str },
}

impl<'p> Call<'p> {
    /// Finds the call at a path.
    pub(super) fn at(path: &'p str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix("/face/v")?.split('/').collect();
        match segments.as_slice() {
            [_version, "detect"] => Some(Self::Detect),
            [_version, "identify"] => Some(Self::Identify),
            [_version, "verify"] => Some(Self::Verify),
            [_version, "largepersongroups", group] => Some(Self::Group { group }),
            [_version, "largepersongroups", group, "persons"] => Some(Self::Persons { group }),
            [_version, "largepersongroups", group, "persons", person, "persistedfaces"] => {
                Some(Self::Faces { group, person })
            }
            _ => None,
        }
    }

    /// The methods that it takes, as the header `Allow` lists them.
    pub(super) const fn allows(self) -> &'static str {
        match self {
            Self::Group { .. } => "GET, HEAD, PUT, DELETE",
            Self::Detect | Self::Identify | Self::Verify | Self::Persons { .. } | Self::Faces { .. } => "POST",
        }
    }

    /// Whether it takes this method.
    pub(super) fn takes(self, method: &Method) -> bool {
        self.allows().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Whether `detect` returns the identifier by which `identify` and `verify` know the face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReturnFaceId {
    Yes,
    No,
}

impl ReturnFaceId {
    /// Reads `returnFaceId`; yes where it is absent.
    ///
    /// # Errors
    /// [`Refused::BadArgument`] when it is neither `true` nor `false`, or is there twice.
    pub(super) fn asked(query: Option<&str>) -> Result<Self, Refused> {
        let mut asked = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| name.eq_ignore_ascii_case("returnFaceId"))
            .map(|(_, value)| value);
        match (asked.next(), asked.next()) {
            (None, _) => Ok(Self::Yes),
            (Some(value), None) if value.eq_ignore_ascii_case("true") => Ok(Self::Yes),
            (Some(value), None) if value.eq_ignore_ascii_case("false") => Ok(Self::No),
            _ => Err(Refused::BadArgument("returnFaceId takes true or false, once.".to_owned())),
        }
    }
}

/// The body of `detect` and of a new face, where the image is named.
#[derive(Debug, Deserialize)]
pub(super) struct Image {
    pub(super) url: String,
}

/// The body of `PUT largepersongroups/{group}` and of `POST persons`.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// The body of `identify`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identify {
    face_ids: Vec<Uuid>,
    pub(super) large_person_group_id: String,
    max_num_of_candidates_returned: Option<usize>,
    confidence_threshold: Option<f64>,
}

impl Identify {
    /// The faces to look for.
    ///
    /// # Errors
    /// [`Refused::BadArgument`] when they are none or more than [`MOST_FACES`].
    pub(super) fn face_ids(&self) -> Result<&[Uuid], Refused> {
        if (1..=MOST_FACES).contains(&self.face_ids.len()) {
            Ok(&self.face_ids)
        } else {
            Err(Refused::BadArgument(format!("faceIds takes 1 to {MOST_FACES} identifiers.")))
        }
    }

    /// How many candidates a face may have. Each has confidence 1, so that no threshold leaves one out.
    ///
    /// # Errors
    /// [`Refused::BadArgument`] when the number or the threshold is outside its range.
    pub(super) fn most_candidates(&self) -> Result<usize, Refused> {
        let (default, limit) = CANDIDATES;
        let most = self.max_num_of_candidates_returned.unwrap_or(default);
        if !(1..=limit).contains(&most) {
            return Err(Refused::BadArgument(format!("maxNumOfCandidatesReturned takes 1 to {limit}.")));
        }
        if !(0.0..=1.0).contains(&self.confidence_threshold.unwrap_or(0.0)) {
            return Err(Refused::BadArgument("confidenceThreshold takes 0 to 1.".to_owned()));
        }
        Ok(most)
    }
}

/// The body of `verify`: face against face, or face against person.
#[derive(Debug, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Verify {
    Faces { face_id1: Uuid, face_id2: Uuid },
    Person { face_id: Uuid, large_person_group_id: String, person_id: Uuid },
}

#[cfg(test)]
mod tests {
    use super::{Call, ReturnFaceId};

    #[test]
    fn a_path_names_at_most_one_call() {
        for (path, call) in [
            ("/face/v1.0/detect", Some(Call::Detect)),
            ("/face/v1.2-preview.1/identify", Some(Call::Identify)),
            ("/face/v9/verify", Some(Call::Verify)),
            ("/face/v1.2/largepersongroups/g", Some(Call::Group { group: "g" })),
            ("/face/v1.2/largepersongroups/g/persons", Some(Call::Persons { group: "g" })),
            ("/face/v1.2/largepersongroups/g/persons/p/persistedfaces", Some(Call::Faces { group: "g", person: "p" })),
            ("/face/1.0/detect", None),
            ("/face/detect", None),
            ("/face/v1.0/detect/", None),
            ("/face/v1.0/x/detect", None),
            ("/face/v1.0/findsimilars", None),
            ("/face/v1.0/largepersongroups", None),
            ("/", None),
        ] {
            assert_eq!(Call::at(path), call, "{path}");
        }
    }

    #[test]
    fn a_face_id_is_returned_unless_it_is_clearly_not_wanted() {
        for (query, asked) in [
            (None, Some(ReturnFaceId::Yes)),
            (Some(""), Some(ReturnFaceId::Yes)),
            (Some("detectionModel=detection_03"), Some(ReturnFaceId::Yes)),
            (Some("returnFaceId=true"), Some(ReturnFaceId::Yes)),
            (Some("a=b&returnFaceId=false"), Some(ReturnFaceId::No)),
            (Some("returnfaceid=False"), Some(ReturnFaceId::No)),
            (Some("returnFaceId=0"), None),
            (Some("returnFaceId="), None),
            (Some("returnFaceId=false&returnFaceId=false"), None),
        ] {
            assert_eq!(ReturnFaceId::asked(query).ok(), asked, "{query:?}");
        }
    }
}
