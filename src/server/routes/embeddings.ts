import { ApiError } from '../api-error.js';

/** A model that generates has no embeddings to give. */
export function embeddings(): Response {
  throw new ApiError(501, 'embeddings are not supported by this model', {
    type: 'not_supported_error',
    code: 'embeddings_not_supported',
  });
}
