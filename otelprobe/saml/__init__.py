"""SAML 2.0 as a service provider sees it: metadata, requests, responses, XML signatures and encryption (extra `saml`)."""
