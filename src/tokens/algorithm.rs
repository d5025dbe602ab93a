//! The names of signature algorithms, ours and the library's.

use jsonwebtoken::Algorithm;

use crate::config::SigningAlgorithm;
use crate::config::TokenAlgorithm;

/// The algorithm of this name (RFC 7518 §3.1, RFC 8037 §3.1). Case matters, and `none` is no algorithm.
pub(super) fn named(name: &str) -> Option<TokenAlgorithm> {
    Some(match name {
        "RS256" => TokenAlgorithm::Rs256,
        "RS384" => TokenAlgorithm::Rs384,
        "RS512" => TokenAlgorithm::Rs512,
        "PS256" => TokenAlgorithm::Ps256,
        "PS384" => TokenAlgorithm::Ps384,
        "PS512" => TokenAlgorithm::Ps512,
        "ES256" => TokenAlgorithm::Es256,
        "ES384" => TokenAlgorithm::Es384,
        "EdDSA" => TokenAlgorithm::EdDsa,
        "HS256" => TokenAlgorithm::Hs256,
        "HS384" => TokenAlgorithm::Hs384,
        "HS512" => TokenAlgorithm::Hs512,
        _ => return None,
    })
}

/// What the library calls it.
pub(super) const fn library(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Rs256 => Algorithm::RS256,
        TokenAlgorithm::Rs384 => Algorithm::RS384,
        TokenAlgorithm::Rs512 => Algorithm::RS512,
        TokenAlgorithm::Ps256 => Algorithm::PS256,
        TokenAlgorithm::Ps384 => Algorithm::PS384,
        TokenAlgorithm::Ps512 => Algorithm::PS512,
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::Es384 => Algorithm::ES384,
        TokenAlgorithm::EdDsa => Algorithm::EdDSA,
        TokenAlgorithm::Hs256 => Algorithm::HS256,
        TokenAlgorithm::Hs384 => Algorithm::HS384,
        TokenAlgorithm::Hs512 => Algorithm::HS512,
    }
}

/// What a verifier calls the algorithm that one of our own keys signs with.
pub(super) const fn of_signing(algorithm: SigningAlgorithm) -> TokenAlgorithm {
    match algorithm {
        SigningAlgorithm::Es256 => TokenAlgorithm::Es256,
        SigningAlgorithm::EdDsa => TokenAlgorithm::EdDsa,
        SigningAlgorithm::Rs256 => TokenAlgorithm::Rs256,
    }
}
