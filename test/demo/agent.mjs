// The agent of `npm run demo`: ordinary code with an ordinary placeholder where a key would be. It knows nothing of
// Sidekey, and writes down everything it can see.
const url = "https://api.example.test/v1/answer?q=hello";
const headers = { authorization: `Bearer ${process.env.EXAMPLE_API_KEY ?? "no-key"}`, accept: "application/json" };

const response = await fetch(url, { headers });

console.log(
  JSON.stringify({
    sent: { url, headers },
    got: { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() },
    environment: process.env,
    arguments: process.argv,
  }),
);
