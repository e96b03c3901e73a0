//! Google Cloud: tokens, one authorised HTTP client, and the calls we make. Knows no event.
