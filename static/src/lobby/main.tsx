import { render } from 'preact';

render(<main>Luneo Live</main>, document.getElementById('app')!);
