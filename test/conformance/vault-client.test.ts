import { createTestAuthority } from "../support/certificates.ts";
import { startFakeVault } from "../support/vault/fake-vault/fake-vault.ts";
import { startServedVault } from "../support/vault/served-vault.ts";
import { describeVaultClient } from "./vault-client.ts";

describeVaultClient("a vault in memory", startFakeVault);

describeVaultClient("a vault in memory, with TLS", async () => {
  const authority = await createTestAuthority();
  const tls = await authority.issue({ names: ["localhost"] });
  return { ...(await startFakeVault({ tls, host: "localhost" })), ca: authority.certificatePem };
});

describeVaultClient("a vault in memory that asks for nonces", async () => {
  const vault = await startFakeVault();
  vault.demandNonce();
  return vault;
});

describeVaultClient("the server", () => startServedVault());

describeVaultClient("the server, with TLS", () => startServedVault({ tls: true }));
